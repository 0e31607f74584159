"""The proof of the platform: unit, integration, contract, concurrency, flow and browser tests."""
