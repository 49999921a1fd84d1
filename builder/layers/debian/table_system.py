"""Known maintainer scripts of system packages over a base, as in `table.py`.  Pure data.

Each was read.  `python bench/modelled.py` compares what comes out with the packages' own installation, and lists what
is missing.
"""

from __future__ import annotations

SYSTEM: dict[str, tuple[str, ...]] = {
    # binutils preinst: trixie
    "296be23f9c41deb5114c6fba7a03cc9ba8358a667ed3f3dd858f1f2ab5480394": (),
    # cpp postinst: bookworm
    "627ec7f1abf5cf235c5ba2e2a1e6cda843f1339fde00e88f46ab69158c35f2f6": ("alternatives",),
    # cpp postinst: trixie
    "e03f6cb84134c3b23ddc08372baccbaf78c5bdcf8e6a7f479a724cf479dbeb03": ("alternatives",),
    # cpp preinst: trixie
    "87b0904901d2dd36e4b8a32c79fcf85acf2df729c12a65e2708d4e78269d2dae": (),
    # fakeroot postinst: bookworm, trixie
    "e5379d3657aaef5a0b9c9bd7cf95d483bf61094e4925788104f45972431e6746": ("alternatives",),
    # g++ postinst: bookworm, trixie
    "3f30a71243d28a15290c94c67305fd2ca6ab8482a4e376ad46c756c9338ec830": ("alternatives",),
    # gcc postinst: bookworm, trixie
    "18bb49fb1cc9cf342c531baf05991d8c6f4c445ad980a2bd757154912055d16d": ("alternatives",),
    # git postinst: bookworm, trixie
    "4d91b2ec119e231e745955462f61b2f08977164c99f39fbbee66167c81fa7610": (),
    # git preinst: bookworm, trixie
    "25cccc20fe41ab06a6f71e1cd273da1a4e5409c2ec451e0adc75508a8b06c2bc": (),
    # less postinst: bookworm, trixie
    "a33a1e6ef5a22e63a66e42853fc0bcff3107b4653d7b5cea891354a5f28db6c4": ("alternatives",),
    # less preinst: bookworm, trixie
    "c72b2f152d56cae58b8f39efe22e6f0d85d676c4ac3060f40cfe0c463f1f8d94": (),
    # libcrypt-dev postinst: bookworm, bookworm, trixie, trixie
    "a91c98d94742f5745416b17a412598299b1ec841a24743830484bbc24c8f8d29": (),
    # libgl1-mesa-dri postinst: bookworm, bookworm, trixie, trixie
    "258bf19032d8ba72525d4a57df49016089f8336d4dd82f95aec84797fdd2e6da": (),
    # libsasl2-modules postinst: bookworm, bookworm, trixie, trixie
    "8c15ee41f6de0bdc454563300e31581210959ba89e9a98d5eea4439f7c4ece69": (),
    # libsensors5 preinst: bookworm
    "880602913ee37a9108f669524d13d381b288369e6898dedcd5d6358cf9d4348c": (),
    # openssh-client postinst: bookworm
    "e36e542d1b34b009dc1c4da886e5cdf250edc9858729ae51b0fd3e49aa0a7430": ("ssh-agent",),
    # openssh-client preinst: bookworm, trixie
    "e6d63942f0a8a5ab475df425df5179205405a23e48a4372c5ee13fdce2f9b9f3": (),
    # perl postinst: bookworm
    "7f560ff0edc2362427dabbbff7d110832793c27e7b80ffa42ab08c608de347bf": (),
    # perl postinst: trixie
    "cebad2b86e1823e6c3cc40d3eae6e4a4dad67177b7c3a47bb5b1fa7df3ba4337": (),
    # perl preinst: bookworm
    "79bf8eb768267c951cb2c05331206f2e40121ac745417cb898d7820afea9f5a6": (),
    # x11-common postinst: bookworm
    "349b60c19333f00733f5b52001d05f9f33f9e5866aa7277dedc769ff6f2c7938": ("init-script",),
    # x11-common postinst: trixie
    "dca96d138080f12fcbcfe5b9f76ebb714c11f758fa56003b29a834ba13b468c4": ("init-script",),
    # x11-common preinst: trixie
    "4ffef8e40faa8c29aef79ed770c55b1838b7505c79b06c8f50c92df45554b932": (),
    # xz-utils postinst: bookworm, trixie
    "a5f4a07edfb37614c3a643f8413ed15bc9bfe321681964fc94726a82391d5841": ("xz-alternatives",),
}
