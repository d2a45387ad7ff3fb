"""Tables, figures and pages, made from the records of runs.

In all of this room `plan` is a `plan.Plan`, or what `studies` finds in place of
one, `records` a list of its run records, `recipe` the `papers.Recipe` whose
printed numbers stand beside ours, or None, and `looks` as in
`statistics.compare`.
"""
