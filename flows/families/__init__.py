"""The flows of the families, a module each: the module's name is the command, its first line what the command says."""
