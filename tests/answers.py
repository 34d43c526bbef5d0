"""The bodies of errors that several tests expect."""

UNAVAILABLE = {
    "message": "The database does not answer at the moment",
    "error_code": "DatabaseUnavailable",
    "details": None,
}
DUPLICATE = {"message": "An entity with this name already exists", "error_code": "DuplicateName", "details": None}
