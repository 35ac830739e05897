"""Well-known secrets of tutorials and default passwords of servers, which attackers try first."""

# Lower case, letters and digits only: "Change-Me!" is "changeme".
WELL_KNOWN_SECRETS = frozenset(
    """
    changeme changethis changeit changemeinproduction replaceme replacethis placeholder default example insecure notsecure
    secret supersecret topsecret mysecret thisisasecret jwtsecret yourjwtsecret yoursecret devsecret servicesecret
    secretkey supersecretkey mysecretkey thisisasecretkey jwtsecretkey yoursecretkey yoursupersecretkey mysupersecretkey
    yoursecretkeyhere yourjwtsecretkey yourjwtsecretkeyhere yoursecretkeychangethisinproduction
    yoursecretkeychangeinproduction changethissecretkeyinproduction yoursecretkeychangemeinproduction
    password passw0rd test testing development dev
    09d25e094faa6ca2556c818166b7a9563b93f7099f6f0f4caa6cf63b88e8d3e7
    """.split()  # noqa: SIM905 a word list reads best as words
)
WELL_KNOWN_PASSWORDS = frozenset(
    """
    postgres root toor guest admin administrator mysql mariadb redis rabbitmq mongo mongodb elastic minioadmin portico
    password passw0rd pass secret changeme change-me changethis changeit default example letmein test dev user foobared
    qwerty 1234 12345 123456 12345678 123456789
    """.split()  # noqa: SIM905 likewise
)
