"""Text that is shown holds nothing that a terminal or a reader could be led astray by."""

from aquilamed.printable import printable


def test_what_stays_and_what_does_not() -> None:
    assert printable("发热 38.5 °C\n\tnaïve\u0301 👩\u200d⚕️") == "发热 38.5 °C\n\tnaïve\u0301 👩\u200d⚕️"
    assert printable("a\x00b\x1b[2Jc\u202ed\u2066e\r\ufefff\x85") == "a�b�[2Jc�d�e��f�"
    assert printable(None) == "None"
