"""Which of a file's names is each band of a recipe."""

from collections.abc import Sequence


def place_bands(bands: tuple[str, ...], *spellings: Sequence[str]) -> tuple[list[int | None], bool]:
    """Where each band stands among a file's names, None where it has none; and whether several names fit one band.

    The names are tried as each of `spellings` gives them, as written before without regard to case: Y and y are two
    bands in some surveys. No name is given to two bands.
    """
    places: list[int | None] = [None] * len(bands)
    several = False
    for names in spellings:
        for fold in (str, str.casefold):
            for number, band in enumerate(bands):
                if places[number] is None:
                    fitting = [n for n, name in enumerate(names) if fold(name) == fold(band) and n not in places]
                    several |= len(fitting) > 1
                    if len(fitting) == 1:
                        places[number] = fitting[0]
    return places, several
