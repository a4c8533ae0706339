"""Jobs on whole collections of pictures or streams: one machine or a cluster."""
