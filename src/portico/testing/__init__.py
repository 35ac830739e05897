"""What tests of a service need: servers, fixtures, fakes and the contract suites."""
