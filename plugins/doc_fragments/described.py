"""Documentation of options that modules share. Written by tools/derive.py from options.py: change that."""

from __future__ import annotations


class ModuleDocFragment:
    """Options of modules."""

    IMPORT_SETS = r"""
options:
  sets:
    description: Import sets, which are imported one after the other.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description:
          - Name of the set, for messages.
        type: str
        required: true
      exports:
        description:
          - Export files, folders (their C(*.yaml), compressed ones such as C(*.yaml.gz) too), or globs; one,
            or a list.
        type: raw
        required: true
      artifacts:
        description:
          - Folder where relative artifact paths begin; the folder of each export file if not given.
        type: path
      rewrite:
        description:
          - Prefixes of artifact paths or URIs, and what stands in their place here. The longest that fits is
            used; names of collections are never rewritten.
          - A list of C({old, new}), of pairs or of C(OLD=NEW), or a mapping. What a rule makes of a path is where
            artifacts may be taken from.
        type: raw
        default: []
      roots:
        description:
          - Further folders that artifacts may be taken from, beside those of the export file, of C(artifacts)
            and of C(rewrite). What lies elsewhere, links followed, counts as missing.
        type: list
        elements: path
        default: []
      collections:
        description:
          - Which collections of the exports are taken. V(keep) takes all, V(drop-chains) all but the CHAINED
            ones, V(drop) none but the runs that the datasets need; V(associations) brings nothing but associations
            with TAGGED and CALIBRATION collections, of datasets that are in the repository already.
        type: str
        choices:
          - keep
          - drop-chains
          - drop
          - associations
        default: keep
      missing:
        description:
          - What a dataset whose artifact is missing does. V(fail) fails its export file, of which nothing is
            kept; V(skip) leaves the dataset out; V(register) has it in the registry only.
        type: str
        choices:
          - fail
          - skip
          - register
        default: fail
      placeholders:
        description:
          - What an empty file or a Git LFS pointer in place of an artifact is, missing or taken as it is.
        type: str
        choices:
          - missing
          - accept
        default: missing
      formatters:
        description:
          - Packages whose formatters are trusted, beside C(lsst). Whoever reads a dataset imports and calls its
            formatter, which is a name in the export.
        type: list
        elements: str
        default: []
      unknown_formatters:
        description:
          - What formatters of other packages do. V(notice) names them in the result, V(refuse) fails their export
            file.
        type: str
        choices:
          - notice
          - refuse
        default: notice
      transfer:
        description:
          - How artifacts become the repository's. V(link) makes hard links where the file system allows it and
            symbolic links elsewhere; V(direct) records where the artifacts are; V(none) expects them inside the
            repository.
        type: str
        choices:
          - symlink
          - relsymlink
          - copy
          - hardlink
          - link
          - direct
          - none
        default: symlink
      runs:
        description:
          - Runs that are made whether datasets need them or not.
        type: list
        elements: str
        default: []
      register:
        description:
          - Make the dimension records of known instruments and skymaps that datasets need and that neither the
            export nor the repository has. Without it their lack is an error, as that of any others is.
        type: bool
        default: false
      exclusive:
        description:
          - Take foreign keys away while many datasets are inserted, on PostgreSQL. Whoever else uses the database
            waits meanwhile, even to read; large imports are faster. Otherwise that is done where nobody else
            is connected to it.
        type: bool
        default: false
      note:
        description:
          - What a reader of the report should know of these exports, in your own words.
        type: str
        default: ''
      stage:
        description:
          - Stage of the replication, which is also the tag, that imports the set.
        type: str
        choices:
          - instrument
          - skymap
          - calib
          - refcats
          - raw
          - visits
          - products
        default: products
      instrument:
        description:
          - Instrument of the datasets, which the stage C(instrument) registers.
        type: str
      skymap:
        description:
          - Skymap of the datasets, which the stage C(skymap) registers.
        type: str
      visits:
        description:
          - Collection of raws for whose exposures the stage C(visits) defines visits.
        type: str
"""

    COLLECTIONS = r"""
options:
  collections:
    description:
      - Collections that the repository is to have. A CHAINED one is made when at least one of its children exists,
        or is itself a chain described here that is made. A RUN, CALIBRATION or TAGGED one is made as a child
        of such a chain. Anything else is skipped and reported.
    type: list
    elements: dict
    suboptions:
      name:
        description:
          - Name of the collection.
        type: str
        required: true
      type:
        description:
          - Type of the collection.
        type: str
        choices:
          - RUN
          - CALIBRATION
          - TAGGED
          - CHAINED
        required: true
      children:
        description:
          - Children of a CHAINED collection, in search order. No other one has any.
        type: list
        elements: str
        default: []
      needs:
        description:
          - A CHAINED collection is made where one of these exists. Its children, if not given.
        type: list
        elements: str
        default: []
      doc:
        description:
          - Documentation of the collection.
        type: str
      stage:
        description:
          - Stage of the replication that makes the chain; C(refcats) makes it in that stage, too.
        type: str
        default: chains
"""
