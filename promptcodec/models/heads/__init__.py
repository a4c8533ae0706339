"""Networks for classification and segmentation from y_hat, without decoding pixels."""
