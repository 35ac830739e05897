"""Calls between services: typed clients over a channel, in this process or over HTTP.

From the caller inwards: `Client` and `Calls` (who asks, until when), `RetryingChannel` (what may be tried again, within a
budget), then `LocalChannel` or `HttpChannel`, which take an instance from a `Pool` or `Directory` with its `Breaker`.
"""
