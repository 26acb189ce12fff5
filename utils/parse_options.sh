# shellcheck shell=bash
# Sourced by a recipe: sets its options from the command line, as Kaldi's file of this name does.
#
# The recipe declares its options below a line that begins with "# Options", up to the next empty line, as
#     name_of_option=default   # what it means
# and then says `. parse_options.sh`. The user writes --name-of-option VALUE, --name_of_option VALUE or
# --name-of-option=VALUE; `--help` prints the declarations. Where the default is a whole number, such as 3, so must be the
# value; where it has a decimal point, such as 3.0, any number will do. Where it is (), each VALUE is added to the array.
# Of a recipe that declares stage and stop_stage, the first may not come after the last.
# An unknown option ends the recipe with status 2, unless the recipe has declared the array other_options=(), which then
# collects it with its value. Names of ESPnet are understood, or answered with ours, as espnet_names.txt beside this file
# says.

_recipe=${BASH_SOURCE[1]}
_espnet=${BASH_SOURCE[0]%/*}/espnet_names.txt
_declared=$(sed -n '/^# Options/,/^$/p' "$_recipe")
if declare -p other_options >/dev/null 2>&1; then _collect=true; else _collect=false; fi

_fail() {
  printf '%s: error: %s\n' "${_recipe##*/}" "$1" >&2
  exit 2
}

# The comment at the head of the recipe, then `--option  what it means [default]`, one a line.
_help() {
  local name rest
  sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$_recipe"
  echo
  sed -n 's/^\([a-z][a-z0-9_]*\)=\([^#]*[^# ]\)\{0,1\} *# \(.*\)$/\1|\3 [\2]/p' <<<"$_declared" |
    while IFS='|' read -r name rest; do printf '  --%-15s %s\n' "${name//_/-}" "$rest"; done
  echo
}

while [ $# -gt 0 ]; do
  case $1 in
    -h | --help)
      _help
      if ! $_collect; then exit 0; fi
      other_options+=(--help)
      shift
      ;;
    --?*)
      _option=${1%%=*}
      # A name goes into a pattern and into the name of a variable, where `a[$(command)]` would run a command.
      if [[ ! $_option =~ ^--[a-z][a-z0-9_-]*$ ]]; then _fail "unknown option $_option; --help lists the options"; fi
      _name=${_option#--}
      _name=${_name//-/_}
      if [[ $1 == *=* ]]; then
        _value=${1#*=}
      elif [ $# -gt 1 ]; then
        _value=$2
        shift
      else
        _fail "option $_option needs a value"
      fi
      shift
      if ! grep -q "^$_name=" <<<"$_declared" && _ours=$(grep "^$_name [=,!] " "$_espnet"); then
        read -r _ _how _ours <<<"$_ours"
        if [ "$_how" = "!" ]; then _fail "$_option is an option of ESPnet; here: $_ours"; fi
        if [ "$_how" = "," ]; then _value=$(xargs <<<"$_value") && _value=${_value// /,}; fi
        printf '%s: %s is --%s here\n' "${_recipe##*/}" "$_option" "${_ours//_/-}" >&2
        _name=$_ours _option=--${_ours//_/-}
      fi
      if grep -q "^$_name=" <<<"$_declared"; then
        _default=$(sed -n "s/^$_name=\([^ ]*\).*/\1/p" <<<"$_declared")
        if [[ $_default == "()" ]]; then
          declare -n _array=$_name
          _array+=("$_value")
          unset -n _array
          continue
        elif [[ $_default =~ ^-?[0-9]+$ && ! $_value =~ ^-?[0-9]+$ ]]; then
          _fail "option $_option needs a whole number, not '$_value'"
        elif [[ $_default =~ ^-?[0-9]+$ && ! $_value =~ ^-?(0|[1-9][0-9]{0,8})$ ]]; then
          _fail "option $_option needs at most nine digits, the first of them no 0, not '$_value'"
        elif [[ $_default =~ ^-?[0-9]+\.[0-9]+$ && ! $_value =~ ^-?([0-9]+\.?[0-9]*|\.[0-9]+)$ ]]; then
          _fail "option $_option needs a number, not '$_value'"
        fi
        printf -v "$_name" %s "$_value"
      elif $_collect; then
        other_options+=("$_option" "$_value")
      else
        _fail "unknown option $_option; --help lists the options"
      fi
      ;;
    *) _fail "unexpected argument '$1'; --help lists the options" ;;
  esac
done
if [[ -n ${stage-} && -n ${stop_stage-} ]] && ((stage > stop_stage)); then
  _fail "--stage $stage comes after --stop-stage $stop_stage: there is nothing to do"
fi
unset -f _fail _help
unset -v _recipe _declared _collect _option _name _value _default _espnet _ours _how
