"""The normal form of names."""

import unicodedata

MAX_NAME = 100  # characters


def nfc(text: str) -> str:
    """The form in which names are kept, compared and answered.

    What is too long to become a name (NFC shortens four-fold at the most) stays as it is: ordering the marks of a text
    takes quadratic time.
    """
    return text if len(text) > 4 * MAX_NAME else unicodedata.normalize("NFC", text)
