"""Top-level domains that e-mail is sent to: all country codes, and the generic ones in wide use (IANA root zone)."""

from __future__ import annotations

_COUNTRIES = """
ac ad ae af ag ai al am ao aq ar as at au aw ax az ba bb bd be bf bg bh bi bj bm bn bo br bs bt bw by bz ca cc cd cf cg
ch ci ck cl cm cn co cr cu cv cw cx cy cz de dj dk dm do dz ec ee eg er es et eu fi fj fk fm fo fr ga gd ge gf gg gh gi
gl gm gn gp gq gr gs gt gu gw gy hk hm hn hr ht hu id ie il im in io iq ir is it je jm jo jp ke kg kh ki km kn kp kr kw
ky kz la lb lc li lk lr ls lt lu lv ly ma mc md me mg mh mk ml mm mn mo mp mq mr ms mt mu mv mw mx my mz na nc ne nf ng
ni nl no np nr nu nz om pa pe pf pg ph pk pl pm pn pr ps pt pw py qa re ro rs ru rw sa sb sc sd se sg sh si sk sl sm sn
so sr ss st su sv sx sy sz tc td tf tg th tj tk tl tm tn to tr tt tv tw tz ua ug uk us uy uz va vc ve vg vi vn vu wf ws
ye yt za zm zw
"""
_GENERIC = """
com org net edu gov mil int arpa info biz name pro aero asia cat coop jobs mobi museum post tel travel xxx
academy accountant agency amsterdam apartments app army art associates attorney auction band bank bar beer berlin best
bet bike bio blog boston brussels build builders business buzz cafe camera camp capital care career careers cash center
ceo charity chat church city cleaning clinic cloud club coach codes coffee college cologne community company computer
consulting contact cooking cool corsica country credit cymru dance date dating deals degree delivery democrat dental
dentist design dev digital direct directory doctor dog domains earth education email energy engineer engineering
enterprises equipment estate eus events exchange expert express family fan farm fashion film finance financial fish
fitness flights florist foundation fun fund futbol fyi gal gallery game games garden gent gift global gmbh gold golf
gratis green group guide guitars guru hamburg health healthcare help hiphop hockey holdings holiday homes hospital host
hosting house immo inc industries ink institute insurance international investments ist istanbul jetzt jewelry kaufen
kitchen koeln kiwi land lat law lawyer legal lgbt life lighting limited link live llc loan lol london love ltd luxury
madrid maison management market marketing mba media medical melbourne memorial miami mobile moda moe money mortgage
moscow movie nagoya network news ngo ninja nrw nyc observer one ong online organic osaka page paris partners parts party
pet pharmacy photo photography photos pics pictures pink pizza plus poker press productions promo properties property
pub quebec racing realtor realty recipes red rehab rent rentals repair report republican rest restaurant review reviews
rio rip rocks ruhr run saarland sale salon sarl school schule science scot security services sexy shoes shop show site
ski soccer social software solar solutions space sport store stream studio study style supply support surf swiss sydney
systems taipei tattoo tax taxi team tech technology tennis tips tirol today tokyo tools top tours town toys trade
trading training tube university uno vacations vegas ventures vet viajes video villas vin vip vision vlaanderen vodka
vote voyage wales watch webcam website wedding wien wiki win wine work works world wtf xyz yoga yokohama zone zuerich
"""

TOP_LEVEL_DOMAINS = frozenset(word.encode() for word in (_COUNTRIES + _GENERIC).split())
"""In lower case, as bytes."""
