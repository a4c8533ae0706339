"""Domain packs: adapters of some rates, trained on a user's own kind of pictures."""
