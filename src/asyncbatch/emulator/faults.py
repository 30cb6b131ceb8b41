"""Error responses of services."""

from http import HTTPStatus


class ServiceError(Exception):
    """A request is rejected, with AWS's error code.

    Parameters
    ----------
    code : str
        The error's code, as clients compare it.
    message : str
        Description of the error, with the values.
    status : int
        HTTP status of the answer.
    """

    def __init__(self, code: str, message: str, *, status: int = HTTPStatus.BAD_REQUEST) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.status = int(status)
