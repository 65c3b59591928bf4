"""What a model is trained to predict: a sample of the order, as it lies in the token files, becomes inputs and labels.

config.py        the recipe's `train.objective`
opened.py        from the section to an objective: token names become ids
causal.py · masked.py · mixture.py · prefix.py · middle.py · spans.py · denoisers.py · replaced.py
                 one objective each
reference.py     the same, document by document in plain Python: what tests and `headwater train matrix` compare with
"""
