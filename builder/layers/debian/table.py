"""The known maintainer scripts: hash (see `scripts.py`) to the models that say what each does.  Pure data.

Each was read; most do nothing on a first installation.  `python -m pytest tests/debian` compares the outcome with a
real bootstrap, and `python tests/debian/new_scripts.py` shows what is missing.  Suites and architectures stand behind
each as found when it was read.
"""

from __future__ import annotations

TABLE: dict[str, tuple[str, ...]] = {
    # adduser preinst: bookworm
    "7f6b6affc5b83a6bbe3c620457d13a96671b8482b9389ebfc393548dff92dff5": (),
    # apt postinst: bookworm, trixie
    "351d1afbc90122e73ddefc096cf53356070ee09c899e8bd2cd9169c2252fe9cf": ("units",),
    # apt preinst: bookworm, trixie
    "2fcecc09431fcac1c42d8ad643445aadc0f5efd8f24e24b7ae37d555dac24837": (),
    # base-files postinst: bookworm
    "9d835f80f3815b5e5f49034027e9126e40d74c725e11cd37d4ae95dc490d209f": ("base-files",),
    # base-files postinst: trixie (amd64)
    "c3afcbe1aa12e56b62955e75bbf432f21446c4901e66f19468f68351791b08be": ("base-files",),
    # base-files postinst: trixie (arm64)
    "40d3b9308c8e180dbb0d8cdf3a2bb4d795b37815807a864e474e84bbc56a2660": ("base-files",),
    # base-files preinst: trixie (amd64)
    "e593a5b0e3be354a3c0c0c0b5905de242da960e50bc0bb6d8f128247f125088a": ("base-files-diversions",),
    # base-files preinst: trixie (arm64)
    "c6619854af6ee14357e5d81a56f6424a23909170251de2380b1f7caeb1cf2fb7": ("base-files-diversions",),
    # base-passwd postinst: bookworm
    "c372532e5cba8abf8fd60fba244ddb537fef4807ce0624698dafb4d21866710c": (),
    # base-passwd postinst: trixie
    "1cff0ea9b8dd12bcb4f6da505bdbd225c905df423f89f4a1be871667ab40c7c6": ("subordinate-ids",),
    # base-passwd preinst: bookworm, trixie
    "47f6f8ee55faa32f7ff23337772c05bfcc7c01aa0804e1ffeffd71ebff0e21b9": ("base-passwd",),
    # bash postinst: bookworm, trixie
    "6145ad1de77615d2b46b1c0bc136358a76c9cadefb5101743b590d86645de046": ("alternatives",),
    # ca-certificates config: bookworm, trixie
    "6d34a25b8f7e6ff679a768db581ae5e436faee193aece201c6a4501e36b2ec37": (),
    # ca-certificates postinst: bookworm, trixie
    "bbad2df5d3c5e3d787789275830bc5b597fe6e9218a99516947a079dcae9e262": ("certificates",),
    # coreutils postinst: bookworm
    "c74c21800ef2a0462534b5a447e290b466832cfa81d631b5971578aa4a496faa": (),
    # dash postinst: bookworm
    "f33ccd3552732dc70098402effbf462dde099b093d2c1d609999c90a20ea0554": ("dash-diversions",),
    # dash postinst: trixie
    "d645a064ae691492fc35446181ece920c75ef0e0b179bc8ba0ffccefb632ec9d": (),
    # dash preinst: trixie
    "07dfa54d9a3f59a86e1e04705ceaa2596a05fc00a08bb964792dc8e8dc517108": (),
    # debconf config: bookworm
    "4f6cca919cf82b607d0ec001e451566c887383c41320d796021eee66b4473db2": (),
    # debconf config: trixie
    "e91259e40c51b1dfb94d9a49eb58d6808096f291bc238c9da1e901f55639106d": (),
    # debconf postinst: bookworm
    "a68350a8b685d1389704e246bcd25b25efaadda846d188ec4cd2ef7870636c10": (),
    # debconf postinst: trixie
    "5a2e9dd3174db7116b8baca7479df372bc898a04cf9136ebefca3c98de959f3c": (),
    # debian-archive-keyring postinst: bookworm
    "103a75dc042f5dffbc457f7be8581f98bd56ac58940054607624eeb45639844f": (),
    # debian-archive-keyring postinst: trixie
    "12eb4c92c337625d2bcf296fe2c6cc8e1b4f0e5cc333d8eb12380c2249ec9c5e": (),
    # debian-archive-keyring preinst: bookworm
    "b526201e13bed483dc9dd1103a3cda3f0bdb9bad418c56a02323fe06664a5647": (),
    # debian-archive-keyring preinst: trixie
    "3fec45c2afee98aa274e8083e3e1db006d7b6e79b3d74b01eebc3e528e55c6f0": (),
    # debianutils postinst: bookworm
    "a29569bd90a26a6eb8338afefbd7772b9dec3200379896a3d2d523fcc7a134d8": ("shells", "alternatives"),
    # debianutils postinst: trixie
    "d15926d4a2130c02b368e2a609fbeb563455355e717007937e36893f88668eff": ("shells", "alternatives"),
    # dpkg postinst: bookworm
    "778d97a78f8804a56c52664d3458a86d1edf7782155b613e0c5f783c63acf578": ("units",),
    # dpkg postinst: trixie
    "f89850ce4c8b0652bb5f288894f3f180fe60d9c27ddd4df8251c7f7ed82ebed9": ("native-architecture", "units"),
    # gzip postinst: trixie
    "cddcb049fa57988f1be16035569af310a7f9cb6bc401dd9c732ee01d956f97d8": (),
    # gzip preinst: trixie
    "09dbf6d394e92c0c694fd8c17cfcbc198af5072f605dc006205a172293fa977d": (),
    # init-system-helpers postinst: bookworm, trixie
    "22b1db010859db57c9bbc2ff275774375204043884a79f9b55368b21a7d46006": (),
    # libc-bin postinst: bookworm, trixie
    "3daa7e3ffd429c1d77287f0fc840a490a607697906d2303452f70578647ce0d4": ("name-service",),
    # libc6 postinst: bookworm
    "457325703e976358f35bfe835e019ebcdd2ed168f1f921e2509d4dbf225ac96c": (),
    # libc6 postinst: trixie
    "ff2a3a7a0e74ceac331ca5ad22e7ef57c974a7b891a9b1e7f3def4377ec6f1b5": (),
    # libc6 preinst: bookworm (amd64)
    "77692462251006a8b8161b442c5b0b75b9580d70fd3d85c066a5c9a412c1ce9b": (),
    # libc6 preinst: bookworm (arm64)
    "3db894ad8bf11f5a4a891763c66d89c85268e83204c2814f34bf54bfb250558f": (),
    # libc6 preinst: trixie (amd64)
    "964a417b9c330f80213fe8aebb1f44eaea307203962aecb0de493742583bb454": ("diversions",),
    # libc6 preinst: trixie (arm64)
    "47f047126448416b1f94d48a9bb9c26d39b7806c3a1aedbd3f24ccbc64b45eb6": ("diversions",),
    # libgcrypt20 postinst: bookworm (amd64)
    "b8ccd8524c389b644c072df2e66b376ec243c8c9159b9b6be66136f94be9a687": (),
    # libgcrypt20 postinst: bookworm (arm64)
    "0a6a9f4de773bb10f869aacd2279e60113aac7e3bd446c402eee59fa58dedbd2": (),
    # libgssapi-krb5-2 postinst: bookworm
    "e4281cab5316aa28177447f8c8c5ee6e17cfdcad3edca77c81fc77670fe0a5f4": (),
    # libpam-modules postinst: bookworm
    "35c3c5ed8aa0db4849cde8bb585a6a86736e4894ef2983002dbd037408c13c44": ("pam-files",),
    # libpam-modules postinst: trixie
    "ddf77f362eeeb9720f05fa59cc2583aeda90a25ec721dd6807e0eda568ce84d1": ("pam-files",),
    # libpam-modules preinst: bookworm, trixie
    "87c5a9bcde481ad65bb699df2693b69756622e6d0a6592b2f2d5d881b97e0580": (),
    # libpam-modules-bin postinst: trixie
    "88684b558576e24caed64ee1c1b934a62473d8d7d199ea3ab08098f6e5072ff7": (),
    # libpam-runtime postinst: bookworm, trixie
    "df5d1ba9ea9787e230eee0a0a8feaee02265cc30485b6bd9f6828bbedb4eb401": ("pam",),
    # libpam0g postinst: bookworm, trixie
    "115eb8d446552fa63d3dff297ab1c69c065c44a50f7dd69c34284c8991b589c6": (),
    # libpython3.11-minimal postinst: bookworm
    "49895d2f40f31bc9e3fe538e2c1d5470c186168bd4c5e14f70724bef192cca26": (),
    # libpython3.13-minimal postinst: trixie
    "5a64ba566896edb9350037136a5d2bd7c811e415f98862cb0a0820451127c2f2": (),
    # libreadline8t64 preinst: trixie (amd64)
    "3e80595cce09408210cd772572b7ebcfba3d04f21a882bd6863b9eac27eba75b": ("diversions",),
    # libreadline8t64 preinst: trixie (arm64)
    "fea700302799cebcee124ff0b506f9dd261c19fe0284adeea681ec5d8cbed631": ("diversions",),
    # libselinux1 postinst: trixie
    "684ee968c17cb4da879374525276eb170f0c0d74888ff80d32d94a21dd9af92e": (),
    # login postinst: bookworm
    "cf90df786f853a9dc94f852d0d4b77c6f95da3588dacc534ace2d9692ce4b0f2": ("login-log", "subordinate-ids"),
    # login preinst: bookworm
    "39da96d179c7ec6669fe1bded4d24cd5eb4792c4af9fef48162d595e05668b07": (),
    # login.defs postinst: trixie
    "b6a6ee46fff116770120ec86c39a1c2bdf3485699d4213c47596327d57a65d0a": (),
    # mawk postinst: bookworm, trixie
    "2362a6454fefafe2726904eebb5b152368b3ee06b9e39059a4b6842522da2929": ("alternatives",),
    # netbase postinst: bookworm
    "2fb18184147db995d30a311938458ff14e20382bc97635ccac62512d54d4bad8": ("networks",),
    # netbase postinst: trixie
    "f1f034ca93a9e934b934239acb18d12904d1a20c5b5dd74730af30dbd480585c": ("networks",),
    # openssl postinst: bookworm, trixie
    "625ae8f649ec61f00e1ab53568a84f85f964f10fdbd9f25b800cc229205d1714": (),
    # passwd postinst: bookworm
    "7e3a1695249324469167e2a93158ff35a42f274c6f0c82e82e424698e14616d5": ("shadow",),
    # passwd postinst: trixie
    "327543dd12bb1b13217f9150de488cbf26c64de1179d455db80a3dfb5cbdf078": ("shadow",),
    # passwd preinst: bookworm, trixie
    "5a4dea4fdd6a7749bf4db58e0a6ba81f25a0ca7902f58b5bd1dfe0e91df589f4": (),
    # perl-base preinst: bookworm
    "e9523e511f8b71eac21c9489fa0656a29831ea02bd540d2b1e3115ec590a5bd3": (),
    # python3 postinst: bookworm
    "a89247254f9dbeb68d5e7afc179e417b5e02e27201d12eb162d79a68e448f554": ("python-configuration",),
    # python3 postinst: trixie
    "87ec3ad2227c3f02ec41e1908bb9c88bfc8a6825ae5b392c6359188331e8eb0d": ("python-configuration",),
    # python3 preinst: bookworm
    "5ef8d9e6e33c1034202a2fdde074f425513255441677b87693dee1ea91d8472a": (),
    # python3 preinst: trixie
    "e96541f254e7fb72f988d435af2a8626a25b752c441c8410233964ea3214b72d": (),
    # python3-distutils postinst: bookworm
    "d91b46a4777af08d8f4f5524a2991867d914f9b726c0c463c4af85ee250e4066": (),
    # python3-lib2to3 postinst: bookworm
    "8cab7e47fa45a48006a8b18e5cf89be0495a9d39ec3eb310e7eed6b5a2945baa": (),
    # python3-minimal postinst: bookworm, trixie
    "be10656c9edf975f5dfe48fe5819172e905e14dcd4ff372af5d8b45b26168edd": (),
    # python3.11 postinst: bookworm (amd64)
    "95e847a43febe61283f83ff5bbb297238b2779a5d636a8e210d32c0a00f349fc": (),
    # python3.11 postinst: bookworm (arm64)
    "cdbe0f845b45b3bd918fcf20fb690a8bac89d9d509614142842dc1f29bbc72e4": (),
    # python3.11-minimal postinst: bookworm (amd64)
    "127a7b2ca76acfa98783f40629a7d9c15be5e3ca17174ff609f75d66072d9c6e": ("python-local",),
    # python3.11-minimal postinst: bookworm (arm64)
    "cf68b3dfd95ae856cf8156aa20d32a97c80e3cf462258b8b2bec93e2a04a2892": ("python-local",),
    # python3.11-minimal preinst: bookworm
    "1386bf0fc62ec2c87fb0435bfb8d84856247f1623e1ef9a7c01c459a46017008": ("python-installed",),
    # python3.11-venv postinst: bookworm
    "5663942d7b667085c84c87445a3301c4f290a3e0ebe757a79b26106515ea6533": (),
    # python3.13 postinst: trixie (amd64)
    "aa141d83b50d64e7c950e6f8923c68b29f44dd8b48118c5d009ecee6eae13f7c": (),
    # python3.13 postinst: trixie (arm64)
    "64e214f60ab37db4660c1aaa434a779b86ecef293fcf93308026209199a4c312": (),
    # python3.13-minimal postinst: trixie (amd64)
    "889fccd49312f43c74e44f01bd751aa9282894934d5a61bb4f387f79a486ff9d": ("python-local",),
    # python3.13-minimal postinst: trixie (arm64)
    "3f75bf9bd8745b4d9d3a84af4647a5d9229214ab9fd8ec8e5a8dbf1a87acf3fd": ("python-local",),
    # python3.13-minimal preinst: trixie
    "7da899fb7aaf449eca6ea89eb41aef9bf9ee05a31d5db5716b8412ccca4126fa": ("python-installed",),
    # python3.13-venv postinst: trixie
    "cf20a149fa8ab2a9e51b06f81fe33d9e69d929f6c2444c997c219a82c7439478": (),
    # readline-common postinst: bookworm, trixie
    "94506bc8b626670c34c3f328df3615033b8520e4b686e3a9e74814bf0219aee1": ("readline",),
    # tar postinst: bookworm, trixie
    "4eed7466e8f44c6b480002d80becc0d998c462b759c0118e285170a93f4b3dca": ("alternatives",),
    # tzdata config: bookworm
    "069bf2cebd2b76fadb5689b46e10378abe7b7793105de5a7084b975ef724474b": (),
    # tzdata config: trixie
    "8eb3b42a48eeaf411b61c854cdba35dcfeefa9c990e41aa7b0520932cc819ab1": (),
    # tzdata postinst: bookworm
    "453d3885f75d5e8447fb5ce82a0240438b3a761714afabefe9b569b6eee98a2c": ("time-zone",),
    # tzdata postinst: trixie
    "555ed6cfc95b70d0e209ffcbfbcef31670cf50bea5e9ff686f6f9c456acb0f46": ("time-zone",),
    # tzdata preinst: bookworm
    "1dcd6e8b19b07dca4f0437443650a4b538e69cdcaa4e3175fdc820a9e87fd938": (),
    # usr-is-merged postinst: bookworm
    "da90a5ff269ea58f1aa8f06a92ac37ab7f42d28787e4a7017992f67fcf48518b": (),
    # usr-is-merged preinst: bookworm
    "727f2971fe428284f1dfcf88ead0d5c6fc6e1013b3ea4fbc878099076792a2af": (),
    # util-linux postinst: bookworm
    "db7715d0f8fcfd45b170bec4a0dc9643f7feb6639e8ac6a4f2e5b4c05a484608": ("alternatives", "units"),
    # util-linux postinst: trixie
    "43e82534a5985ac02c338d4850e8cc6ed3d7727f09e0ab22310df91e206a4bac": ("alternatives", "units"),
    # util-linux-extra postinst: bookworm
    "7ee9969a4ee91f7790bdad377c1d523e1968cfee63f5ae0d93e9147bd36af778": ("init-script",),
    # util-linux-extra preinst: bookworm
    "8014df991753968402aa211326f52c7ab90851388d597c4a0d9a06880386b661": (),
}
