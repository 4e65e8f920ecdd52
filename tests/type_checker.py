"""What checks every annotation of the library at run time, in tests only: an int is a float, as for type checkers."""

from beartype import BeartypeConf, beartype

check = beartype(conf=BeartypeConf(is_pep484_tower=True))
