"""Orders of the Piccolo shop: checkout as a saga over cart, catalog and payments."""
