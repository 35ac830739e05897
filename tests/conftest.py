pytest_plugins = ["portico.kit.testing.fixtures"]
