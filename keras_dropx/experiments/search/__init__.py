"""KerasTuner's searches, of a network or of a model of the user's own.

In all of this room `settings` is a `Settings` or an `OwnSettings`, `method`
"any" or a method of `any_dropout`, `trials` how many there are at most in a
search, `output` the path of the folder of all searches, and `kept` the note
that is in it.
"""
