"""How work is carried out over whole classes, whatever the family: runs, stages, records, plans, training."""
