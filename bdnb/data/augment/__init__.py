"""Second views for SSL: an image or a caption in, a changed one out."""
