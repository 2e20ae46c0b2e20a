"""The answer to a request that the server does not carry out."""


class Refused(Exception):  # noqa: N818
    """End a request with a status and the server's own words."""

    def __init__(self, status: int, message: str = "") -> None:
        super().__init__(status, message)
        self.status = status
        self.message = message


def not_found(what: str) -> Refused:
    return Refused(404, f"Unable to find the specified {what}.")


def forbidden(message: str = "Forbidden") -> Refused:
    return Refused(403, message)
