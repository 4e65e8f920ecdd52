"""From the tables of families to a study, and from files of answers to scores."""
