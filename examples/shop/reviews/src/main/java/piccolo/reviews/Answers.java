package piccolo.reviews;

import java.util.Map;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;
import org.springframework.core.MethodParameter;
import org.springframework.http.HttpStatus;
import org.springframework.http.HttpStatusCode;
import org.springframework.http.MediaType;
import org.springframework.http.ResponseEntity;
import org.springframework.http.converter.HttpMessageConverter;
import org.springframework.http.server.ServerHttpRequest;
import org.springframework.http.server.ServerHttpResponse;
import org.springframework.web.ErrorResponse;
import org.springframework.web.bind.annotation.ExceptionHandler;
import org.springframework.web.bind.annotation.RestControllerAdvice;
import org.springframework.web.servlet.mvc.method.annotation.ResponseBodyAdvice;
import org.springframework.http.converter.HttpMessageNotReadableException;

/** What all answers share: errors as {"error": {"code", "message"}}, and a goodbye while the service drains. */
@RestControllerAdvice
public class Answers implements ResponseBodyAdvice<Object> {
    private static final Logger LOG = LoggerFactory.getLogger(Answers.class);
    private final Draining draining;

    Answers(Draining draining) {
        this.draining = draining;
    }

    @ExceptionHandler
    ResponseEntity<Object> handle(Exception thrown) {
        if (thrown instanceof ApiException known) {
            return answer(known.status, known.code, known.getMessage());
        }
        if (thrown instanceof HttpMessageNotReadableException) {
            return answer(HttpStatus.BAD_REQUEST, "malformed_request", "the body is not the JSON that is expected here");
        }
        if (thrown instanceof ErrorResponse standard && standard.getStatusCode().is4xxClientError()) {
            String code = switch (standard.getStatusCode().value()) {
                case 404 -> "not_found";
                case 405 -> "method_not_allowed";
                default -> "malformed_request";
            };
            return answer(standard.getStatusCode(), code, standard.getBody().getDetail());
        }
        LOG.error("request failed", thrown);
        return answer(HttpStatus.INTERNAL_SERVER_ERROR, "internal", "something went wrong in reviews");
    }

    private static ResponseEntity<Object> answer(HttpStatusCode status, String code, String message) {
        Object body = Map.of("error", Map.of("code", code, "message", message == null ? code : message));
        return ResponseEntity.status(status).contentType(MediaType.APPLICATION_JSON).body(body);
    }

    @Override
    public boolean supports(MethodParameter type, Class<? extends HttpMessageConverter<?>> converter) {
        return true;
    }

    /** The filter saw the request when it came; the signal may have come since. */
    @Override
    public Object beforeBodyWrite(Object body, MethodParameter type, MediaType media,
            Class<? extends HttpMessageConverter<?>> converter, ServerHttpRequest request, ServerHttpResponse response) {
        if (draining.active()) {
            response.getHeaders().set("Connection", "close");
        }
        return body;
    }
}
