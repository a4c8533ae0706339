"""Whole collections: restarts, throughput, memory."""
