"""The normal form of names."""

import unicodedata

MAX_NAME = 100  # characters


def nfc(text: str) -> str:
    """The form in which names are stored, compared and sent.

    A text that is too long for a name stays unchanged, since NFC takes quadratic time to order combining marks. NFC
    shortens a text to a quarter at most.
    """
    return text if len(text) > 4 * MAX_NAME else unicodedata.normalize("NFC", text)
