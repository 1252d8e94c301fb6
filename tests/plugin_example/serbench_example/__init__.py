"""A distribution that adds components to serbench: copy it to begin your own."""
