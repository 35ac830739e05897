pytest_plugins = ["portico.testing.fixtures"]
