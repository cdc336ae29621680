"""Encodings of Helium (MVE), from the Armv8-M Architecture Reference Manual (DDI 0553), chapter C2.

Each heading is a class, as the tables of cores name them, and the registers written `<` and read; each line is a mask
and the instructions that have these values under it. The letters of registers are those of classify_helium.FIELDS. An
instruction belongs to the line with most bits in its mask. Sizes of elements are not told apart.
"""

from __future__ import annotations

ENCODINGS = """
vector_float <nm
  efb11ff1 vcmp:ee310f00 vcmp:ee310f80 vcmp:ee311f00 vcmp:ee311f01 vcmp:ee311f80 vcmp:ee311f81
  ff811ff1 vcmp:fe010f00 vcmp:fe010f01 vcmp:fe010f80 vcmp:fe010f81 vcmp:fe011f00 vcmp:fe011f01 vcmp:fe011f80
           vcmp:fe011f81
vector_float <nr
  efb11ff0 vcmp:ee310f40 vcmp:ee310fc0 vcmp:ee311f40 vcmp:ee311f60 vcmp:ee311fc0 vcmp:ee311fe0
  ff811ff0 vcmp:fe010f40 vcmp:fe010f60 vcmp:fe010fc0 vcmp:fe010fe0 vcmp:fe011f40 vcmp:fe011f60 vcmp:fe011fc0
           vcmp:fe011fe0
vector_integer d<d
  eff817f0 vorr:ef800150 vbic:ef800170
vector_integer d<dm
  ffc01ff1 vsri:ff800450 vsli:ff800550
vector_integer d<dr
  eff31ff0 vshl:ee311e60
vector_integer d<m
  efc01ff1 vshr:ef800050
  efe01ff1 vshllb:eea00f40 vshllt:eea01f40
  efe71ff1 vmovlb:eea00f40 vmovlt:eea01f40
  ffc01ff1 vshl:ef800550
  fff31ff1 vmaxa:ee330e81 vmina:ee331e81 vrev64:ffb00040 vcls:ffb00440 vclz:ffb004c0 vqabs:ffb00740 vqneg:ffb007c0
           vabs:ffb10340 vneg:ffb103c0
  effb1ff1 vshllb:ee310e01 vshllt:ee311e01
  fffb1ff1 vrev32:ffb000c0
  ffff1ff1 vrev16:ffb00140 vmvn:ffb005c0
vector_integer d<nm
  efc11ff1 vhadd:ef000040 vqadd:ef000050 vrhadd:ef000140 vhsub:ef000240 vqsub:ef000250 vshl:ef000440 vmax:ef000640
           vmin:ef000650 vabd:ef000740
  ffc11ff1 vhcadd:ee001f00 vadd:ef000840 vcadd:fe000f00 vcadd:fe001f00 vsub:ff000840
  ffe11ff1 vhcadd:ee000f00
  fff11ff1 vand:ef000150 vbic:ef100150 vorr:ef200150 vorn:ef300150 vpsel:fe310f01 veor:ff000150
vector_integer d<nr
  efc11ff0 vhadd:ee000f40 vqadd:ee000f60 vhsub:ee001f40 vqsub:ee001f60
  ffc11ff0 vadd:ee010f40 vsub:ee011f40 vbrsr:fe011e60
vector_integer n<t
  ffb10fdf vdup:eea00b10
vector_integer dE<E
  ffc11f7e vidup:ee010f6e vddup:ee011f6e
vector_integer dE<EO
  ffc11f70 viwdup:ee010f60 vdwdup:ee011f60
vector_integer dr<dr
  ffe01ff0 vshlc:eea00fc0
vector_integer_slow d<dr
  eff31ff0 vqshl:ee311ee0 vrshl:ee331e60 vqrshl:ee331ee0
vector_integer_slow d<m
  efc01ff1 vrshr:ef800250 vqshl:ef800750
  ffc01ff1 vqshlu:ff800650
vector_integer_slow d<nm
  efc11ff1 vqshl:ef000450 vrshl:ef000540 vqrshl:ef000550
  eff11ff1 vmullb:ee310e00 vmullt:ee311e00
  fff11ff1 vadc:ee300f00 vadci:ee301f00 vsbc:fe300f00 vsbci:fe301f00
vector_integer_slow t<tm
  efff0ff1 vmaxv:eee20f00 vminv:eee20f80 vmaxnmav:eeec0f00 vminnmav:eeec0f80 vmaxnmv:eeee0f00 vminnmv:eeee0f80
  ffff0ff1 vmaxav:eee00f00 vminav:eee00f80
vector_narrow d<dm
  efe01ff1 vqshrnb:ee800f40 vqrshrnb:ee800f41 vqshrnt:ee801f40 vqrshrnt:ee801f41
  effb1ff1 vqmovnb:ee330e01 vqmovnt:ee331e01
  ffe01ff1 vqshrunb:ee800fc0 vshrnb:ee800fc1 vqshrunt:ee801fc0 vshrnt:ee801fc1 vqrshrunb:fe800fc0 vrshrnb:fe800fc1
           vqrshrunt:fe801fc0 vrshrnt:fe801fc1
  fffb1ff1 vqmovunb:ee310e81 vqmovunt:ee311e81 vmovnb:fe310e81 vmovnt:fe311e81
vector_reduce t<tm
  efff0ff1 vmaxv:eee60f00 vminv:eee60f80
  ffff0ff1 vmaxav:eee40f00 vminav:eee40f80
vector_reduce t<tnm
  efc10ff1 vabav:ee800f01
vector_reduce_words t<tm
  efff0ff1 vmaxv:eeea0f00 vminv:eeea0f80
  ffff0ff1 vmaxav:eee80f00 vminav:eee80f80
vector_multiply d<
  eff81ff0 vmov:ef800050
  eff811f0 vmov:ef800050
  eff817f0 vmvn:ef800070
vector_multiply d<dnm
  ffc11ff1 vqdmladh:ee000e00 vqrdmladh:ee000e01 vqdmladhx:ee001e00 vqrdmladhx:ee001e01 vqdmlsdh:fe000e00
           vqrdmlsdh:fe000e01 vqdmlsdhx:fe001e00 vqrdmlsdhx:fe001e01
  ffe11ff1 vfma:ef000c50 vfms:ef200c50 vcmla:fc200840 vcmla:fca00840 vcmla:fd200840 vcmla:fda00840
vector_multiply d<dnr
  eff11ff0 vfma:ee310e40 vfmas:ee311e40
  ffc11ff0 vqrdmlah:ee000e40 vqdmlah:ee000e60 vqrdmlash:ee001e40 vqdmlash:ee001e60 vmla:ee010e40 vmlas:ee011e40
vector_multiply d<m
  efe01cf1 vcvt:efa00c50
  fff31e71 vcvt:ffb30640
  fff31f71 vcvta:ffb30040 vcvtn:ffb30140 vcvtp:ffb30240 vcvtm:ffb30340
  fff31ff1 vrintn:ffb20440 vrintx:ffb204c0 vrinta:ffb20540 vrintz:ffb205c0 vrintm:ffb206c0 vrintp:ffb207c0
  ffff1ff1 vcvtb:fe3f0e01 vcvtt:fe3f1e01
vector_multiply d<nm
  efc11ff1 vmullb:ee010e00 vmulh:ee010e01 vmullt:ee011e00 vrmulh:ee011e01
  eff11ff1 vcmul:ee300e00 vcmul:ee300e01 vqdmullb:ee300f01 vcmul:ee301e00 vcmul:ee301e01 vqdmullt:ee301f01
  ffc11ff1 vmul:ef000950 vqdmulh:ef000b40 vqrdmulh:ff000b40
  ffe11ff1 vmul:ff000d50
vector_multiply d<nr
  eff11ff0 vadd:ee300f40 vqdmullb:ee300f60 vsub:ee301f40 vqdmullt:ee301f60 vmul:ee310e60
  ffc11ff0 vqdmulh:ee010e60 vmul:ee011e60 vqrdmulh:fe010e60
vector_multiply e<em
  eff31ff1 vaddva:eef10f20
vector_multiply e<enm
  eff01ef1 vmladava:eef00e20
  eff01ff1 vmlsdava:eef00e21 vmlsdavax:eef01e21
  fff01ef1 vmladavax:eef01e20
vector_multiply e<m
  eff31ff1 vaddv:eef10f00
vector_multiply e<nm
  eff01ef1 vmladav:eef00e00
  eff01ff1 vmlsdav:eef00e01 vmlsdavx:eef01e01
  fff01ef1 vmladavx:eef01e00
vector_multiply eh<ehm
  ef8f1ff1 vaddlva:ee890f20
vector_multiply eh<ehnm
  ef801ff1 vmlaldava:ee800e20
  ef811ff1 vrmlaldavha:ee800f20
  ff801ff1 vmlsldava:ee800e21 vmlaldavax:ee801e20 vmlsldavax:ee801e21
  ff811ff1 vrmlaldavhax:ee801f20 vrmlsldavha:fe800e21 vrmlsldavhax:fe801e21
vector_multiply eh<m
  ef8f1ff1 vaddlv:ee890f00
vector_multiply eh<nm
  ef801ff1 vmlaldav:ee800e00
  ef811ff1 vrmlaldavh:ee800f00
  ff801ff1 vmlsldav:ee800e01 vmlaldavx:ee801e00 vmlsldavx:ee801e01
  ff811ff1 vrmlaldavhx:ee801f00 vrmlsldavh:fe800e01 vrmlsldavhx:fe801e01
vector_float d<m
  efff1ff1 vmaxnma:ee3f0e81 vminnma:ee3f1e81
  fff31ff1 vabs:ffb10740 vneg:ffb107c0
vector_float d<nm
  ffe11ff1 vadd:ef000d40 vsub:ef200d40 vcadd:fc800840 vcadd:fd800840 vmaxnm:ff000f50 vabd:ff200d40 vminnm:ff200f50
vector_float rR<d
  fff01ff0 vmov:ec000f00 vmov:ec000f10
vector_float t<n
  ff500f9f vmov:ee500b10
  ff500fbf vmov:ee100b30
vector_float_narrow d<dm
  ffff1ff1 vcvtb:ee3f0e01 vcvtt:ee3f1e01
vector_move d<drR
  fff01ff0 vmov:ec100f00 vmov:ec100f10
vector_move n<nt
  ffd00f9f vmov:ee400b10
  ffd00fbf vmov:ee000b30
vector_control <
  ffb11fff vpst:fe310f4d
vector_control <R
  ffc0ffff vctp:f000e801
vector_control <t
  fffe0fff vmsr:eeec0a10
vector_control t<
  fffe0fff vmrs:eefc0a10
vector_control <R
  ff301f80 vldr:ed100f80 vstr:ed000f80
vector_control R<R
  ff301f80 vldr:ed300f80 vldr:ec300f80 vstr:ed200f80 vstr:ec200f80
vector_load d<R
  ff301e00 vldr:ed101e00
vector_load dR<R
  ff301e00 vldr:ed301e00 vldr:ec301e00
vector_load d<B
  ef301e00 vldr:ed100e00
vector_load dB<B
  ef301e00 vldr:ed300e00 vldr:ec300e00
vector_store <dR
  ff301e00 vstr:ed001e00
vector_store R<dR
  ff301e00 vstr:ed201e00 vstr:ec201e00
vector_store <dB
  ff301e00 vstr:ed000e00
vector_store B<dB
  ff301e00 vstr:ed200e00 vstr:ec200e00
vector_load_interleaved p<R
  fff01e1f vld2:fc901e00
vector_load_interleaved pR<R
  fff01e1f vld2:fcb01e00
vector_load_interleaved f<R
  fff01e1f vld4:fc901e01
vector_load_interleaved fR<R
  fff01e1f vld4:fcb01e01
vector_store_interleaved <pR
  fff01e1f vst2:fc801e00
vector_store_interleaved R<pR
  fff01e1f vst2:fca01e00
vector_store_interleaved <fR
  fff01e1f vst4:fc801e01
vector_store_interleaved R<fR
  fff01e1f vst4:fca01e01
vector_gather d<Rm
  efb01e00 vldr:ec900e00
vector_gather d<n
  ff301e00 vldr:fd101e00
vector_gather dn<n
  ff301e00 vldr:fd301e00
vector_scatter <dRm
  ffb01e00 vstr:ec800e00
vector_scatter <dn
  ff301e00 vstr:fd001e00
vector_scatter n<dn
  ff301e00 vstr:fd201e00
"""
