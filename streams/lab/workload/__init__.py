"""The workload of a virtual world's group chat, as it was measured, and who must get what.

`population` is the world at rest, `traffic` what happens in it, `model` the independent
answer to "who must have received which message".  All three are pure: no Kafka, no HTTP, no
clock.  Nothing here may know the folds; the model is there to prove them wrong.
"""
