"""What a model is trained to predict: a sample of the order, as it lies in the token files, becomes inputs and labels.

`config` is the recipe's section, `opened` makes an objective of it, `held_out` its validation set. Every other module
is one objective, but `examples`, which has what they take and give, and `draws`, their random numbers. What must hold
of their samples is said apart from them in `train.matrix`.
"""
