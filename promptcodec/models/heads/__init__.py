"""Networks that read y_hat: what a picture shows, without rebuilding it."""
