"""Are explanations understood? Studies for people, a machine's score, names, and what summaries are good for.

A **study** is a list of questions about *subjects*: visual summaries, strongest patches, units, prototypes, and beside
them their controls. It is made from what families left in a store, answered by people in one HTML file, and scored.
"""
