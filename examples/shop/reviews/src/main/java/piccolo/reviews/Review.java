package piccolo.reviews;

/** What one shopper thinks of one product. */
public record Review(String sku, String author, int rating, String title, String text, String createdAt) {

    /** How a product is rated: the average to one decimal, out of five. */
    public record Rating(String sku, double average, int count) {}
}
