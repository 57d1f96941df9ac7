"""Failures that a caller may meet, as one JSON shape: {"error": {"code", "message", "details"?}}."""


class ApiError(Exception):
    def __init__(self, status: int, code: str, message: str, details: dict | None = None):
        super().__init__(message)
        self.status, self.code, self.message, self.details = status, code, message, details

    def body(self) -> dict:
        error = {"code": self.code, "message": self.message}
        if self.details is not None:
            error["details"] = self.details
        return {"error": error}

    @staticmethod
    def restored(stored: dict) -> "ApiError":
        return ApiError(stored["status"], stored["code"], stored["message"], stored.get("details"))

    def stored(self) -> dict:
        return {"status": self.status, **self.body()["error"]}
