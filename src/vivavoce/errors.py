"""What a user can get wrong, told in one sentence: what is wrong, and the way out."""


class VivavoceError(Exception):
    """A mistake the user can mend. The command line prints its one sentence and exits with code 2."""


class InputError(VivavoceError):
    """A photo, sound, avatar or option that cannot be used as it is."""


class OutputError(VivavoceError):
    """A result that cannot be written where it was asked for."""


class WeightsError(VivavoceError):
    """A weight file that is missing, damaged or made for something else."""
