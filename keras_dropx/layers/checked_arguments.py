"""Arguments that are checked whenever they are set."""


class CheckedArguments:
    """Mixin of a layer: checks its arguments on each assignment.

    `layer.rate = 0` after the construction passes the check that
    `Layer(rate=0)` passes, and what is refused leaves the layer as it was.
    The mixin stands before the Keras class among the bases, so that Keras
    tracks what the check returned.

    Attributes:
        checks: Dict from the name of an argument to the function of
            (name, value) that returns the value to keep, or raises.
    """

    checks = {}

    def __setattr__(self, name, value):
        if name in self.checks:
            value = self.checks[name](name, value)
            values = {
                other: getattr(self, other)
                for other in self.checks
                if other != name and hasattr(self, other)
            }
            values[name] = value
            if len(values) == len(self.checks):
                self.check_together(**values)
        super().__setattr__(name, value)

    def check_together(self, **values):
        """Raises if the arguments do not fit each other.

        Called when all of them are there, and at each assignment since.

        Args:
            **values: All that `checks` names, checked one by one.
        """
