package piccolo.reviews;

import com.fasterxml.jackson.core.type.TypeReference;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.io.InputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Instant;
import java.time.temporal.ChronoUnit;
import java.util.Collections;
import java.util.List;
import javax.sql.DataSource;
import org.springframework.beans.factory.annotation.Value;
import org.springframework.context.annotation.Bean;
import org.springframework.context.annotation.Configuration;
import org.springframework.context.annotation.Lazy;
import org.springframework.jdbc.core.JdbcTemplate;
import org.springframework.jdbc.core.RowMapper;
import org.springframework.stereotype.Repository;
import org.springframework.transaction.annotation.Transactional;
import com.zaxxer.hikari.HikariConfig;
import com.zaxxer.hikari.HikariDataSource;
import org.sqlite.SQLiteConfig;

/** Reviews in one SQLite file. */
@Repository
@Lazy(false)
public class ReviewStore {
    private static final RowMapper<Review> REVIEW = (row, index) -> new Review(row.getString("sku"),
            row.getString("author"), row.getInt("rating"), row.getString("title"), row.getString("text"),
            row.getString("created_at"));
    private static final RowMapper<Review.Rating> RATING = (row, index) ->
            new Review.Rating(row.getString("sku"), row.getDouble("average"), row.getInt("count"));

    private final JdbcTemplate jdbc;

    ReviewStore(JdbcTemplate jdbc, ObjectMapper json) throws IOException {
        this.jdbc = jdbc;
        jdbc.execute("""
                CREATE TABLE IF NOT EXISTS reviews (
                  sku TEXT NOT NULL, author_id TEXT NOT NULL, author TEXT NOT NULL,
                  rating INTEGER NOT NULL CHECK (rating BETWEEN 1 AND 5), title TEXT NOT NULL, text TEXT NOT NULL,
                  created_at TEXT NOT NULL, PRIMARY KEY (sku, author_id)) STRICT""");
        jdbc.execute("CREATE INDEX IF NOT EXISTS reviews_by_time ON reviews (sku, created_at DESC)");
        plant(json);
    }

    private record Seed(String sku, String author, int rating, String title, String text, int daysAgo) {}

    private void plant(ObjectMapper json) throws IOException {
        Integer known = jdbc.queryForObject("SELECT count(*) FROM reviews", Integer.class);
        if (known != null && known > 0) {
            return;
        }
        try (InputStream file = ReviewStore.class.getResourceAsStream("/seed.json")) {
            List<Seed> seeds = json.readValue(file, new TypeReference<>() {});
            Instant now = Instant.now().truncatedTo(ChronoUnit.SECONDS);
            for (Seed seed : seeds) {
                String when = now.minus(seed.daysAgo(), ChronoUnit.DAYS).toString();
                Review review = new Review(seed.sku(), seed.author(), seed.rating(), seed.title(), seed.text(), when);
                // One author, one review: the name is id enough for the seed, and planting twice changes nothing.
                write("seed-" + seed.author(), review);
            }
        }
    }

    void ping() {
        jdbc.queryForObject("SELECT count(*) FROM (SELECT 1 FROM reviews LIMIT 1)", Integer.class);
    }

    List<Review> of(String sku, int limit, int offset) {
        return jdbc.query("SELECT * FROM reviews WHERE sku = ? ORDER BY created_at DESC, author LIMIT ? OFFSET ?",
                REVIEW, sku, limit, offset);
    }

    /** The ratings of these products, or of all that have one. */
    List<Review.Rating> ratings(List<String> skus) {
        String filter = skus.isEmpty() ? "" : "WHERE sku IN (" + String.join(",", Collections.nCopies(skus.size(), "?")) + ")";
        return jdbc.query("SELECT sku, round(avg(rating), 1) AS average, count(*) AS count FROM reviews "
                + filter + " GROUP BY sku ORDER BY sku", RATING, skus.toArray());
    }

    /** Writes or replaces the one review of this author; true when it is new. */
    @Transactional
    public boolean write(String authorId, Review review) {
        Integer before = jdbc.queryForObject("SELECT count(*) FROM reviews WHERE sku = ? AND author_id = ?",
                Integer.class, review.sku(), authorId);
        jdbc.update("""
                INSERT INTO reviews (sku, author_id, author, rating, title, text, created_at) VALUES (?, ?, ?, ?, ?, ?, ?)
                ON CONFLICT (sku, author_id) DO UPDATE SET author = excluded.author, rating = excluded.rating,
                  title = excluded.title, text = excluded.text, created_at = excluded.created_at""",
                review.sku(), authorId, review.author(), review.rating(), review.title(), review.text(), review.createdAt());
        return before != null && before == 0;
    }

    @Configuration
    static class Database {
        @Bean
        DataSource dataSource(@Value("${reviews.database-path}") Path path) throws IOException {
            if (path.getParent() != null) {
                Files.createDirectories(path.getParent());
            }
            SQLiteConfig sqlite = new SQLiteConfig();
            sqlite.setJournalMode(SQLiteConfig.JournalMode.WAL);
            sqlite.setSynchronous(SQLiteConfig.SynchronousMode.FULL);
            sqlite.setTransactionMode(SQLiteConfig.TransactionMode.IMMEDIATE);
            sqlite.setBusyTimeout(2000);
            HikariConfig pool = new HikariConfig();
            pool.setJdbcUrl("jdbc:sqlite:" + path);
            pool.setDataSourceProperties(sqlite.toProperties());
            pool.setMaximumPoolSize(2);
            pool.setConnectionTimeout(2000);
            return new HikariDataSource(pool);
        }
    }
}
