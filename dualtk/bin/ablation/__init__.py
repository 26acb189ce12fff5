"""What `dualtk ablate` is made of: the suite, its runs, their stages, and the table."""
