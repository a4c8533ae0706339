"""Repositories of the Hugging Face Hub: names, download, upload, cards."""
