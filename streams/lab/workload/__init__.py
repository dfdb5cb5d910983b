"""The measured workload of a virtual world's group chat, and an independent model of it.

`population` is the initial state, `traffic` the events, and `model` tells who must have received
which message.  All three are pure: no Kafka, no HTTP, no clock.  Nothing here may use the folds,
because the model checks them.
"""
