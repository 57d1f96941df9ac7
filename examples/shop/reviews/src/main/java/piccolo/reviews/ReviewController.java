package piccolo.reviews;

import java.time.Instant;
import java.time.temporal.ChronoUnit;
import java.util.List;
import java.util.Map;
import java.util.regex.Pattern;
import org.springframework.http.HttpStatus;
import org.springframework.http.ResponseEntity;
import org.springframework.web.bind.annotation.GetMapping;
import org.springframework.web.bind.annotation.PostMapping;
import org.springframework.web.bind.annotation.RequestBody;
import org.springframework.web.bind.annotation.RequestParam;
import org.springframework.web.bind.annotation.RestController;

/** The HTTP face: wire shapes and their checks. */
@RestController
public class ReviewController {
    private static final Pattern SKU = Pattern.compile("[a-z0-9-]{1,64}");
    private static final Pattern ID = Pattern.compile("[A-Za-z0-9_-]{8,64}");

    private final ReviewStore store;
    private final Draining draining;

    ReviewController(ReviewStore store, Draining draining) {
        this.store = store;
        this.draining = draining;
    }

    @GetMapping("/healthz")
    Map<String, Object> healthz() {
        return Map.of("status", "ok");
    }

    @GetMapping("/readyz")
    Map<String, Object> readyz() {
        if (draining.active()) {
            throw new ApiException(HttpStatus.SERVICE_UNAVAILABLE, "unavailable", "shutting down");
        }
        store.ping();
        return Map.of("status", "ready", "checks", Map.of("database", "ok"));
    }

    @GetMapping("/reviews")
    Map<String, Object> reviews(@RequestParam String sku, @RequestParam(defaultValue = "20") int limit,
            @RequestParam(defaultValue = "0") int offset) {
        checkSku(sku);
        if (limit < 1 || limit > 100 || offset < 0) {
            throw ApiException.invalid("limit is 1 to 100, offset is 0 or more");
        }
        Review.Rating none = new Review.Rating(sku, 0, 0);
        Review.Rating rating = store.ratings(List.of(sku)).stream().findFirst().orElse(none);
        return Map.of("sku", sku, "average", rating.average(), "count", rating.count(),
                "items", store.of(sku, limit, offset));
    }

    @GetMapping("/ratings")
    Map<String, Object> ratings(@RequestParam(defaultValue = "") List<String> skus) {
        if (skus.size() > 100) {
            throw ApiException.invalid("at most 100 skus");
        }
        return Map.of("items", store.ratings(skus));
    }

    record Body(String sku, String authorId, String author, Integer rating, String title, String text) {}

    @PostMapping("/reviews")
    ResponseEntity<Review> write(@RequestBody Body body) {
        checkSku(body.sku());
        if (body.authorId() == null || !ID.matcher(body.authorId()).matches()) {
            throw ApiException.invalid("author_id has 8 to 64 letters, digits, '-' or '_'");
        }
        if (body.rating() == null || body.rating() < 1 || body.rating() > 5) {
            throw ApiException.invalid("rating is 1 to 5");
        }
        Review review = new Review(body.sku(), line("author", body.author(), 1, 60), body.rating(),
                line("title", body.title(), 0, 100), line("text", body.text(), 1, 2000),
                Instant.now().truncatedTo(ChronoUnit.SECONDS).toString());
        boolean fresh = store.write(body.authorId(), review);
        return ResponseEntity.status(fresh ? HttpStatus.CREATED : HttpStatus.OK).body(review);
    }

    private static void checkSku(String sku) {
        if (sku == null || !SKU.matcher(sku).matches()) {
            throw ApiException.invalid("sku has 1 to 64 small letters, digits or '-'");
        }
    }

    private static String line(String field, String value, int least, int most) {
        String text = value == null ? "" : value.strip();
        if (text.length() < least || text.length() > most) {
            throw ApiException.invalid(field + " has " + least + " to " + most + " characters");
        }
        return text;
    }
}
