"""What is wrong with a catalog, in two wordings: one for everybody, one that quotes what the files hold."""


class CatalogError(ValueError):
    """A catalog that cannot be read as asked.

    The message is `template` with its fields filled in. `public` is the same with every field of `quoted` withheld:
    values, names of files and columns of a table can name a patient, so in a private domain only it is shown.
    """

    def __init__(self, template: str, quoted: dict[str, object] | None = None, **fields: object) -> None:
        quoted = quoted or {}
        self.public = template.format(**dict.fromkeys(quoted, _WITHHELD), **fields)
        super().__init__(template.format(**quoted, **fields))

    def within(self, what: str) -> "CatalogError":
        """The same error, of this part."""
        other = type(self)("{text}", text=f"{what}: {self}")
        other.public = f"{what}: {self.public}"
        return other


class MissingFileError(CatalogError, FileNotFoundError):
    """A table or folder that is not there."""


class _Withheld:
    """Takes the place of what is not shown, whatever its format specification."""

    def __format__(self, specification: str) -> str:
        return "(withheld)"

    def __repr__(self) -> str:
        return "(withheld)"

    __str__ = __repr__


_WITHHELD = _Withheld()
