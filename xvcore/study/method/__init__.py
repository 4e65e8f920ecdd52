"""Questions, agreement, intervals, simulated people, the machine's score: arrays in, arrays out."""
