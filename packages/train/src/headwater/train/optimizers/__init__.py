"""Optimizers: the recipe's sections, which parameter is whose, and those that torch does not have."""
