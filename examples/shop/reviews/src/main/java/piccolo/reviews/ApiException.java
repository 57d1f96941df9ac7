package piccolo.reviews;

import org.springframework.http.HttpStatus;

/** A failure that the caller may know about: a status, a stable code and a sentence. */
public class ApiException extends RuntimeException {
    final HttpStatus status;
    final String code;

    ApiException(HttpStatus status, String code, String message) {
        super(message);
        this.status = status;
        this.code = code;
    }

    static ApiException invalid(String message) {
        return new ApiException(HttpStatus.UNPROCESSABLE_ENTITY, "invalid_request", message);
    }
}
