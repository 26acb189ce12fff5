"""An assistant-style grammar: short commands and questions about a home, its music, its shopping and its time.

Homophones are left out on purpose ("two" is a word here, "to" is not): no recogniser without a language model could
tell them apart, and the corpus is there to judge what is heard.
"""

from __future__ import annotations

import random
import re
from collections.abc import Collection

MIN_WORDS, MAX_WORDS = 2, 12
FRAGMENT_WORDS = 3

# One rule a line, `name: alternative | alternative`; <name> stands for a rule, an alternative may be empty, and all
# alternatives of a name are equally likely, so one that is written twice is drawn twice as often.
GRAMMAR = """
sentence: <home> | <home> | <home> | <music> | <music> | <timer> | <timer> | <shopping> | <shopping> | <call> | <call>
sentence: <weather> | <weather> | <question> | <travel> | <travel> | <remind> | <remind> | <number> | <number> | <chain>
chain: <home> and <command> | <shopping> and <command> | <call> and <command> | <music> and <command>
command: stop the <sound> | <open> the <door> | set a timer | play <genre> | call <name> | turn the <device> <onoff>
ask: | | | please | can you | could you | now | hello computer

home: <ask> turn the <device> <onoff> <where> | <ask> turn <onoff> the <device> <where>
home: <ask> <open> the <door> <where>
home: <ask> turn <onoff> all the lights <where> <when> | <ask> turn the <device> <onoff> at <clock>
home: <ask> set the <device> at <percent> percent | <ask> make the <light> <colour> | <ask> make it <warmer> <where>
home: is the <door> <where> <closed> | is the <device> <onoff> <where> | <ask> turn the <device> <updown> <where>
onoff: on | off
updown: up | down
device: lamp | radio | heater | fan | television | oven | camera | alarm | computer | light
door: door | window | garage | <room> door | <room> window
open: open | close | lock | check
closed: open | closed
light: light <where> | lamp <where>
warmer: warmer | cooler | darker
colour: red | green | yellow | blue | white
where: | | in the <room> | in the <room> | outside
room: kitchen | bedroom | bathroom | office | garden | hall | garage

music: <ask> play <genre> <where> | <ask> play some <genre> <where> | play the <ordinal> <piece> by <name>
music: <ask> play <genre> by <name> <where> | skip this <piece> | turn the music <updown> <where> | play <genre> <when>
music: stop the music <where> <when> | <ask> find some <genre> by <name>
genre: jazz | rock music | piano music | happy songs | music
piece: song | album | story
ordinal: first | last | next

timer: <ask> set a timer of <count> minutes | <ask> set the alarm at <clock> <when> | wake me at <clock> <when>
timer: stop the <sound> | add <count> minutes | cancel the alarm at <clock> | wake <name> at <clock> <when>
sound: timer | alarm | music | radio
count: <digit> | <digit> | <teen> | <tens> | <tens> <digit>
digit: one | two | three | four | five | six | seven | eight | nine
teen: ten | eleven | twelve
tens: twenty | thirty | forty | fifty
percent: <tens> | <tens> <digit> | ten
hour: <digit> | <teen>
clock: <hour> | <hour> thirty | <hour> twenty | half past <hour> | <hour> in the morning | <hour> in the evening
when: | | today | tonight | tomorrow | <day> morning | every morning | on <day>
when: before dinner | after lunch | every <day>
day: monday | tuesday | wednesday | thursday | friday | saturday | sunday

shopping: put <goods> and <goods> on the list | get <digit> bottles of <drink> <when> | add <goods> and <goods>
shopping: do we need <goods> and <goods> | get <goods> <goods> and <goods> | remove the <goods> from the list
shopping: how many <goods> do we need <when> | order <count> <goods> from the market <when>
shopping: we need <drink> and <goods>
shopping: order <goods> and <drink> <when> | put <drink> and <goods> on the list
goods: apples | bananas | potatoes | tomatoes | sugar | butter | cheese | bread | rice | eggs
drink: milk | water | coffee

call: <ask> call <name> <when> | phone <name> at the <place> <when> | send <name> a message <when>
call: what did <name> say <when> | tell <name> i am <late> | tell <name> and <name> i am <late> | <ask> call the <place>
late: late | at home | at the <place> | in the <room> | hungry | in <city>
name: anna | peter | maria | david | sarah | james | emma | michael
place: office | station | market | school | airport | hospital | hotel

weather: will it <rain> in <city> <when> | what is the weather in <city> <when> | how <cold> is it in <city> <when>
weather: will it <rain> <when> | will it be <cold> and <cold> in <city> <when> | is it <cold> in <city>
rain: rain | snow | be <cold> | be <cold>
cold: cold | warm | windy | sunny
city: london | paris | berlin | boston | madrid | tokyo

question: what time is it in <city> | who is in the <room> <when> | where is my <thing> | when is <name> coming home
question: what is <count> and <count> | where is <name> <when> | is <name> at the <place> <when>
question: who is with <name> <when>
thing: phone | book | coat | camera | computer

travel: how far is the <place> from <city> | when does the next <train> leave <city> | is the <train> from <city> late
travel: find a <train> from <city> at <clock> | book a hotel in <city> <when> | get a taxi at <clock> <when>
travel: <ask> find the <place> in <city> | when does the <clock> <train> leave | book a <train> from <city> <when>
train: train | bus | taxi

remind: remind me about the <event> at <clock> | remind <name> about the <event> <when> | cancel the <event> on <day>
remind: when is the <event> with <name> | put the <event> with <name> on <day> | move the <event> with <name> <when>
event: meeting | lesson | party | dinner | football game

number: the number is <digit> <digit> <digit> <digit> | my number is <digit> <digit> <digit>
number: call <digit> <digit> <digit> <digit> <digit> <digit> | room <digit> <digit> | bus <digit> <digit> <when>
"""

Rules = dict[str, list[str]]


def parse(grammar: str = GRAMMAR) -> Rules:
    """The rules by name; a name written on several lines has the alternatives of all of them."""
    rules: Rules = {}
    for line in filter(None, grammar.splitlines()):
        name, _, alternatives = line.partition(":")
        rules.setdefault(name, []).extend(text.strip() for text in alternatives.split("|"))
    return rules


def vocabulary(rules: Rules) -> set[str]:
    """Every word that a sentence can hold."""
    return {word for texts in rules.values() for text in texts for word in re.sub(r"<\w+>", " ", text).split()}


def expand(rules: Rules, text: str, generator: random.Random) -> str:
    """`text` with every <rule> replaced by one of its alternatives, drawn uniformly."""
    return re.sub(r"<(\w+)>", lambda match: expand(rules, generator.choice(rules[match[1]]), generator), text)


def sentence(rules: Rules, generator: random.Random, taken: Collection[str] = ()) -> str:
    """One sentence of MIN_WORDS to MAX_WORDS lower-case words that is not among `taken`."""
    while True:
        words = expand(rules, "<sentence>", generator).split()
        text = " ".join(words)
        if MIN_WORDS <= len(words) <= MAX_WORDS and text not in taken:
            return text


def fragment(rules: Rules, generator: random.Random) -> str:
    """One to FRAGMENT_WORDS consecutive words of a sentence, as people answer an assistant that asks back."""
    words = sentence(rules, generator).split()
    length = generator.randint(1, min(FRAGMENT_WORDS, len(words)))
    start = generator.randint(0, len(words) - length)
    return " ".join(words[start : start + length])
