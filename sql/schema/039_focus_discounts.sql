-- What a credit is worth by list and by agreed prices is what its bill tells: nothing of a discount, for the prices of what
-- it is taken off have it in them. Before, it was always what was billed, and such a discount was counted twice.
--
-- And the view asks the ledger first, as the views of 035 do: a bill that is published meanwhile is not read as empty.
-- All else of it is as it was.
CREATE OR REPLACE VIEW focus_columns AS
WITH
    [
        'af-south-1', 'ap-east-1', 'ap-east-2', 'ap-northeast-1', 'ap-northeast-2', 'ap-northeast-3', 'ap-south-1',
        'ap-south-2', 'ap-southeast-1', 'ap-southeast-2', 'ap-southeast-3', 'ap-southeast-4', 'ap-southeast-5',
        'ap-southeast-6', 'ap-southeast-7', 'ca-central-1', 'ca-west-1', 'eu-central-1', 'eu-central-2',
        'eu-north-1', 'eu-south-1', 'eu-south-2', 'eu-west-1', 'eu-west-2', 'eu-west-3', 'il-central-1',
        'me-central-1', 'me-south-1', 'mx-central-1', 'sa-east-1', 'us-east-1', 'us-east-2', 'us-west-1',
        'us-west-2', 'cn-north-1', 'cn-northwest-1', 'us-gov-east-1', 'us-gov-west-1', 'eusc-de-east-1', 'eastus',
        'eastus2', 'southcentralus', 'westus2', 'westus3', 'australiaeast', 'southeastasia', 'northeurope',
        'swedencentral', 'uksouth', 'westeurope', 'centralus', 'southafricanorth', 'centralindia', 'eastasia',
        'indonesiacentral', 'japaneast', 'japanwest', 'koreacentral', 'malaysiawest', 'newzealandnorth',
        'canadacentral', 'austriaeast', 'belgiumcentral', 'francecentral', 'germanywestcentral', 'italynorth',
        'norwayeast', 'polandcentral', 'spaincentral', 'switzerlandnorth', 'mexicocentral', 'uaenorth',
        'brazilsouth', 'chilecentral', 'israelcentral', 'qatarcentral', 'northcentralus', 'westus', 'westcentralus',
        'southafricawest', 'australiacentral', 'australiacentral2', 'australiasoutheast', 'jioindiacentral',
        'jioindiawest', 'koreasouth', 'southindia', 'westindia', 'canadaeast', 'francesouth', 'germanynorth',
        'norwaywest', 'swedensouth', 'switzerlandwest', 'ukwest', 'uaecentral', 'brazilsoutheast', 'chinaeast',
        'chinaeast2', 'chinaeast3', 'chinanorth', 'chinanorth2', 'chinanorth3', 'usgovarizona', 'usgovtexas',
        'usgovvirginia', 'ams', 'atl', 'blr', 'bom', 'cdg', 'del', 'dfw', 'ewr', 'fra', 'hnl', 'icn', 'itm', 'jnb',
        'lax', 'lhr', 'mad', 'man', 'mel', 'mex', 'mia', 'nrt', 'ord', 'sao', 'scl', 'sea', 'sgp', 'sjc', 'sto',
        'syd', 'tlv', 'waw', 'yto'
    ] AS region_ids,
    [
        'Africa (Cape Town)', 'Asia Pacific (Hong Kong)', 'Asia Pacific (Taipei)', 'Asia Pacific (Tokyo)',
        'Asia Pacific (Seoul)', 'Asia Pacific (Osaka)', 'Asia Pacific (Mumbai)', 'Asia Pacific (Hyderabad)',
        'Asia Pacific (Singapore)', 'Asia Pacific (Sydney)', 'Asia Pacific (Jakarta)', 'Asia Pacific (Melbourne)',
        'Asia Pacific (Malaysia)', 'Asia Pacific (New Zealand)', 'Asia Pacific (Thailand)', 'Canada (Central)',
        'Canada West (Calgary)', 'Europe (Frankfurt)', 'Europe (Zurich)', 'Europe (Stockholm)', 'Europe (Milan)',
        'Europe (Spain)', 'Europe (Ireland)', 'Europe (London)', 'Europe (Paris)', 'Israel (Tel Aviv)',
        'Middle East (UAE)', 'Middle East (Bahrain)', 'Mexico (Central)', 'South America (Sao Paulo)',
        'US East (N. Virginia)', 'US East (Ohio)', 'US West (N. California)', 'US West (Oregon)', 'China (Beijing)',
        'China (Ningxia)', 'AWS GovCloud (US-East)', 'AWS GovCloud (US-West)',
        'AWS European Sovereign Cloud (Germany)', 'East US', 'East US 2', 'South Central US', 'West US 2',
        'West US 3', 'Australia East', 'Southeast Asia', 'North Europe', 'Sweden Central', 'UK South', 'West Europe',
        'Central US', 'South Africa North', 'Central India', 'East Asia', 'Indonesia Central', 'Japan East',
        'Japan West', 'Korea Central', 'Malaysia West', 'New Zealand North', 'Canada Central', 'Austria East',
        'Belgium Central', 'France Central', 'Germany West Central', 'Italy North', 'Norway East', 'Poland Central',
        'Spain Central', 'Switzerland North', 'Mexico Central', 'UAE North', 'Brazil South', 'Chile Central',
        'Israel Central', 'Qatar Central', 'North Central US', 'West US', 'West Central US', 'South Africa West',
        'Australia Central', 'Australia Central 2', 'Australia Southeast', 'Jio India Central', 'Jio India West',
        'Korea South', 'South India', 'West India', 'Canada East', 'France South', 'Germany North', 'Norway West',
        'Sweden South', 'Switzerland West', 'UK West', 'UAE Central', 'Brazil Southeast', 'China East',
        'China East 2', 'China East 3', 'China North', 'China North 2', 'China North 3', 'USGov Arizona',
        'USGov Texas', 'USGov Virginia', 'Amsterdam', 'Atlanta', 'Bangalore', 'Mumbai', 'Paris', 'Delhi NCR',
        'Dallas', 'New Jersey', 'Frankfurt', 'Honolulu', 'Seoul', 'Osaka', 'Johannesburg', 'Los Angeles', 'London',
        'Madrid', 'Manchester', 'Melbourne', 'Mexico City', 'Miami', 'Tokyo', 'Chicago', 'Sao Paulo', 'Santiago',
        'Seattle', 'Singapore', 'Silicon Valley', 'Stockholm', 'Sydney', 'Tel Aviv', 'Warsaw', 'Toronto'
    ] AS region_names,
    -- Units as FOCUS spells them; others stay as the bill has them.
    [
        'Hrs', 'hrs', 'Hour', 'hour', 'hours', '1 Hour', 'h', 'Second', 'second', 'seconds', '1 Second', 'minute',
        'minutes', 'Day', 'day', 'days', '1/Day', 'Month', 'month', 'months', '1/Month', 'byte', 'bytes', 'Bytes',
        'kibibyte', 'mebibyte', 'gibibyte', 'tebibyte', '1 GB', '1 TB', 'GB-Mo', 'GB-Month', 'GB-month',
        '1 GB/Month', 'GB-Hrs', 'GB-Hour', 'GB Hours', '1 GB Hour', '1 GB-Hour', 'byte-seconds', 'gibibyte month',
        'gibibyte hour', 'GiB hour', 'tebibyte month', 'mebibyte month', 'GB-Second', 'Lambda-GB-Second', 'vCPU-Hrs',
        'vCPU-Hour', 'count', 'Count', '1', 'Quantity', 'requests', 'Request', 'request'
    ] AS unit_words,
    [
        'Hours', 'Hours', 'Hours', 'Hours', 'Hours', 'Hours', 'Hours', 'Seconds', 'Seconds', 'Seconds', 'Seconds',
        'Minutes', 'Minutes', 'Days', 'Days', 'Days', 'Days', 'Months', 'Months', 'Months', 'Months', 'B', 'B', 'B',
        'KiB', 'MiB', 'GiB', 'TiB', 'GB', 'TB', 'GB-Months', 'GB-Months', 'GB-Months', 'GB-Months', 'GB-Hours',
        'GB-Hours', 'GB-Hours', 'GB-Hours', 'GB-Hours', 'B-Seconds', 'GiB-Months', 'GiB-Hours', 'GiB-Hours',
        'TiB-Months', 'MiB-Months', 'GB-Seconds', 'GB-Seconds', 'vCPU-Hours', 'vCPU-Hours', 'Count', 'Count',
        'Count', 'Count', 'Requests', 'Requests', 'Requests'
    ] AS unit_names,
    -- Each has one parent.
    [
        'Support', 'Other (Other)', 'Cost Management', 'Backup Storage', 'Data Migration', 'Resource Migration',
        'Virtual Machines', 'Containers', 'Serverless Compute', 'End User Computing', 'Other (Compute)', 'Caching',
        'Data Warehouses', 'NoSQL Databases', 'Time Series Databases', 'Ledger Databases', 'Relational Databases',
        'Other (Databases)', 'Block Storage', 'File Storage', 'Object Storage', 'Storage Platforms',
        'Content Delivery', 'Network Security', 'Network Routing', 'Application Networking', 'Network Connectivity',
        'Network Infrastructure', 'API Management', 'Messaging', 'Workflow Orchestration', 'Streaming Analytics',
        'Search', 'Business Intelligence', 'Data Processing', 'Observability', 'Other (Analytics)', 'Generative AI',
        'Bots', 'Natural Language Processing', 'Machine Learning', 'Other (AI and Machine Learning)',
        'Secret Management', 'Threat Detection and Response', 'Security Posture Management',
        'Identity and Access Management', 'Other (Security)', 'Compliance', 'Endpoint Management',
        'Other (Management and Governance)', 'Continuous Integration and Deployment', 'Source Code Management',
        'Development Environments', 'Other (Developer Tools)', 'IoT Platforms', 'Media Streaming', 'Gaming',
        'Application Platforms', 'Productivity and Collaboration'
    ] AS subcategories,
    [
        'Management and Governance', 'Other', 'Management and Governance', 'Storage', 'Migration', 'Migration',
        'Compute', 'Compute', 'Compute', 'Compute', 'Compute', 'Databases', 'Databases', 'Databases', 'Databases',
        'Databases', 'Databases', 'Databases', 'Storage', 'Storage', 'Storage', 'Storage', 'Networking',
        'Networking', 'Networking', 'Networking', 'Networking', 'Networking', 'Integration', 'Integration',
        'Integration', 'Analytics', 'Analytics', 'Analytics', 'Analytics', 'Management and Governance', 'Analytics',
        'AI and Machine Learning', 'AI and Machine Learning', 'AI and Machine Learning', 'AI and Machine Learning',
        'AI and Machine Learning', 'Security', 'Security', 'Security', 'Identity', 'Security',
        'Management and Governance', 'Management and Governance', 'Management and Governance', 'Developer Tools',
        'Developer Tools', 'Developer Tools', 'Developer Tools', 'Internet of Things', 'Media', 'Media', 'Web',
        'Business Applications'
    ] AS categories,
lines AS
(
    SELECT
        *,
        toDate(window_start, 'UTC') AS charge_day,
        charge_category = 'Purchase' AND commitment_status = 'Unused' AND isNotNull(effective_cost) AS has_unused,
        transform(provider, ['aws', 'azure', 'gcp', 'vultr'], ['AWS', 'Microsoft', 'Google Cloud', 'Vultr'], provider)
            AS cloud,
        -- The clouds' own companies have many names: `Amazon Web Services EMEA SARL`.
        transform(provider, ['aws', 'azure', 'gcp', 'vultr'],
            ['^(?i)(amazon|aws)', '^(?i)(microsoft|azure)', '^(?i)google', '^(?i)(vultr|the constant company)'], '^$')
            AS names_of_cloud
    FROM view(SELECT * FROM cost_metrics)
    WHERE cost_kind = 'billed' AND is_settled AND cost_type NOT IN ('reading', 'left_out')
),
charges AS
(
    SELECT
        *,
        part = 'unused' AS is_unused,
        if(is_unused, 'Usage', charge_category) AS category,
        if(is_unused, 0, amount) AS billed,
        multiIf(
            isNull(effective_cost), amount,
            has_unused AND NOT is_unused, 0,
            effective_cost
        ) AS effective,
        -- Of what was not used, and of a credit of which nothing else is told, FOCUS wants what was billed.
        multiIf(
            is_unused, billed,
            isNotNull(contracted_cost), contracted_cost,
            category != 'Credit' AND commitment_id != '' AND isNotNull(list_cost), list_cost,
            billed
        ) AS contracted,
        multiIf(
            is_unused, billed,
            isNotNull(list_cost), list_cost,
            isNotNull(contracted_cost), contracted_cost,
            billed
        ) AS listed,
        category != 'Tax' AND NOT is_unused AND pricing_unit != '' AS is_measured,
        category IN ('Usage', 'Purchase') AND is_measured AND pricing_quantity != 0 AS has_price
    FROM lines
    ARRAY JOIN if(has_unused, ['bought', 'unused'], ['whole']) AS part
),
told AS
(
    SELECT
        *,
        lower(service_name) AS service,
        publisher = '' OR match(publisher, names_of_cloud) AS is_of_cloud,
        invoice_issuer = '' OR match(invoice_issuer, names_of_cloud) AS is_invoiced_by_cloud,
        multiIf(
            payer_account_id != '', payer_account_id,
            provider = 'aws' AND match(billing_account_id, '^[0-9]{12}$'), billing_account_id,
            provider = 'gcp' AND match(billing_account_id, '_v1_[0-9A-F]{6}_[0-9A-F]{6}_[0-9A-F]{6}$'),
                replaceAll(substring(billing_account_id, -20), '_', '-'),
            sub_account_id != '' AND provider != 'vultr', sub_account_id,
            billing_account_id
        ) AS invoiced_account
    FROM charges
)
SELECT
    CAST(NULL AS Nullable(String)) AS AllocatedMethodDetails,
    CAST(NULL AS Nullable(String)) AS AllocatedMethodId,
    CAST(NULL AS Nullable(String)) AS AllocatedResourceId,
    CAST(NULL AS Nullable(String)) AS AllocatedResourceName,
    CAST(NULL AS Nullable(String)) AS AllocatedTags,
    nullIf(toString(availability_zone), '') AS AvailabilityZone,
    CAST(billed AS Decimal(38, 18)) AS BilledCost,
    toString(invoiced_account) AS BillingAccountId,
    nullIf(toString(payer_account_name), '') AS BillingAccountName,
    multiIf(
        provider = 'aws', if(payer_account_id != '', 'Management Account', 'Account'),
        provider = 'azure', if(payer_account_id != '', 'Billing Account', 'Subscription'),
        provider = 'gcp', if(payer_account_id = '' AND BillingAccountId = sub_account_id
            AND NOT match(BillingAccountId, '^[0-9A-F]{6}-[0-9A-F]{6}-[0-9A-F]{6}$'), 'Project', 'Billing Account'),
        'Account'
    ) AS BillingAccountType,
    toString(currency) AS BillingCurrency,
    toDateTime(billing_period + INTERVAL 1 MONTH, 'UTC') AS BillingPeriodEnd,
    toDateTime(billing_period, 'UTC') AS BillingPeriodStart,
    CAST(NULL AS Nullable(String)) AS CapacityReservationId,
    CAST(NULL AS Nullable(String)) AS CapacityReservationStatus,
    toString(category) AS ChargeCategory,
    nullIf(toString(charge_class), '') AS ChargeClass,
    nullIf(charge_description, '') AS ChargeDescription,
    multiIf(
        charge_frequency != '' AND NOT is_unused, toString(charge_frequency),
        category = 'Usage', 'Usage-Based',
        category = 'Purchase', NULL,
        'One-Time'
    ) AS ChargeFrequency,
    charge_period_end AS ChargePeriodEnd,
    charge_period_start AS ChargePeriodStart,
    multiIf(
        commitment_id = '', NULL,
        match(commitment_type, '(?i)savings ?plan|spend|flexible'), 'Spend',
        match(commitment_type, '(?i)reserv|resource|usage'), 'Usage',
        NULL
    ) AS CommitmentDiscountCategory,
    nullIf(toString(commitment_id), '') AS CommitmentDiscountId,
    CAST(NULL AS Nullable(String)) AS CommitmentDiscountName,
    CAST(NULL AS Nullable(Decimal(38, 18))) AS CommitmentDiscountQuantity,
    if(commitment_id != '' AND category = 'Usage', nullIf(toString(commitment_status), ''), NULL)
        AS CommitmentDiscountStatus,
    if(commitment_id != '', nullIf(toString(commitment_type), ''), NULL) AS CommitmentDiscountType,
    CAST(NULL AS Nullable(String)) AS CommitmentDiscountUnit,
    CAST(NULL AS Nullable(String)) AS CommitmentProgramEligibilityDetails,
    if(category = 'Usage' AND commitment_status != 'Unused' AND consumed_unit != '', consumed_quantity, NULL)
        AS ConsumedQuantity,
    if(isNull(ConsumedQuantity), NULL,
        transform(toString(consumed_unit), unit_words, unit_names, toString(consumed_unit)))
        AS ConsumedUnit,
    CAST(NULL AS Nullable(String)) AS ContractApplied,
    CAST(contracted AS Decimal(38, 18)) AS ContractedCost,
    -- A price is what a quantity costs, to 18 digits; below nothing it is none.
    if(has_price AND contracted_cost >= 0 AND pricing_quantity > 0,
        accurateCastOrNull(divideDecimal(contracted_cost, pricing_quantity, 18), 'Decimal(38, 18)'), NULL)
        AS ContractedUnitPrice,
    CAST(effective AS Decimal(38, 18)) AS EffectiveCost,
    -- What another company sells may run elsewhere, unless it is in a region of the cloud.
    if(is_of_cloud OR region_id != '' OR resource_id != '', cloud, toString(publisher)) AS HostProviderName,
    CAST(NULL AS Nullable(String)) AS InvoiceDetailId,
    nullIf(toString(invoice_id), '') AS InvoiceId,
    if(is_invoiced_by_cloud, cloud, toString(invoice_issuer)) AS InvoiceIssuerName,
    CAST(listed AS Decimal(38, 18)) AS ListCost,
    if(has_price AND list_cost >= 0 AND pricing_quantity > 0,
        accurateCastOrNull(divideDecimal(list_cost, pricing_quantity, 18), 'Decimal(38, 18)'), NULL) AS ListUnitPrice,
    multiIf(
        category NOT IN ('Usage', 'Purchase'), NULL,
        pricing_category != '', toString(pricing_category),
        category = 'Usage' AND commitment_id != '', 'Committed',
        provider = 'gcp' AND match(charge_description, '(?i)^spot |preemptible'), 'Dynamic',
        provider = 'gcp' AND sku_id != '', 'Standard',
        provider = 'vultr', 'Standard',   -- its only way to price
        NULL
    ) AS PricingCategory,
    CAST(NULL AS Nullable(String)) AS PricingCurrency,
    CAST(NULL AS Nullable(Decimal(38, 18))) AS PricingCurrencyContractedUnitPrice,
    CAST(NULL AS Nullable(Decimal(38, 18))) AS PricingCurrencyEffectiveCost,
    CAST(NULL AS Nullable(Decimal(38, 18))) AS PricingCurrencyListUnitPrice,
    if(is_measured, pricing_quantity, NULL) AS PricingQuantity,
    if(isNull(PricingQuantity), NULL, transform(toString(pricing_unit), unit_words, unit_names, toString(pricing_unit)))
        AS PricingUnit,
    cloud AS ProviderName,
    if(is_of_cloud, cloud, toString(publisher)) AS PublisherName,
    nullIf(toString(region_id), '') AS RegionId,
    nullIf(transform(toString(region_id), region_ids, region_names, toString(region_id)), '') AS RegionName,
    nullIf(toString(resource_id), '') AS ResourceId,
    if(resource_id = '' OR resource_name = resource_id, NULL, nullIf(toString(resource_name), '')) AS ResourceName,
    if(resource_id = '', NULL, initcap(replaceAll(toString(cost_type), '_', ' '))) AS ResourceType,
    transform(ServiceSubcategory, subcategories, categories, 'Other') AS ServiceCategory,
    toString(service_name) AS ServiceName,
    if(is_of_cloud, cloud, toString(publisher)) AS ServiceProviderName,
    -- By the service's name alone: FOCUS wants one category for a service, and a service charges for several types of
    -- things. The first that matches counts.
    multiIf(
        match(service, 'support|premium'), 'Support',
        match(service, '^(tax|invoice|refund|credit|discount)'), 'Other (Other)',
        match(service, 'cost explorer|cost management|billing|^savings plans|reservation|budgets'), 'Cost Management',
        match(service, 'backup|snapshot|site recovery'), 'Backup Storage',
        match(service, 'database migration|datasync|data box|snowball|transfer service|transfer family|storage mover'), 'Data Migration',
        match(service, 'migrat|migration hub'), 'Resource Migration',
        match(service, 'elastic compute cloud|^amazonec2$|^ec2$|compute engine|virtual machines?|lightsail|cloud compute|bare metal|cloud gpu|optimized cloud|vmware|batch|dedicated host'), 'Virtual Machines',
        match(service, 'kubernetes|container|\\beks\\b|\\baks\\b|\\bgke\\b|\\becs\\b|\\becr\\b|amazoneks|amazonecs|amazonecr|fargate|artifact registry|cloud run|red hat openshift'), 'Containers',
        match(service, 'lambda|^functions$|cloud functions|cloud run functions|azure functions'), 'Serverless Compute',
        match(service, 'workspaces|appstream|virtual desktop'), 'End User Computing',
        match(service, '^ec2 - other|compute'), 'Other (Compute)',
        match(service, 'elasticache|redis|memorystore|memcache|valkey|memorydb|caching'), 'Caching',
        match(service, 'redshift|bigquery|synapse|data warehouse|snowflake'), 'Data Warehouses',
        match(service, 'dynamodb|documentdb|docdb|cosmos|bigtable|firestore|datastore|cassandra|keyspaces|neptune|mongo'), 'NoSQL Databases',
        match(service, 'timestream|time series'), 'Time Series Databases',
        match(service, 'qldb|ledger'), 'Ledger Databases',
        match(service, 'relational database|amazonrds|\\brds\\b|sql|postgres|mariadb|aurora|spanner|alloydb|oracle'), 'Relational Databases',
        match(service, 'database'), 'Other (Databases)',
        match(service, 'block (storage|store)|\\bebs\\b|managed disks|hyperdisk|persistent disk'), 'Block Storage',
        match(service, 'file ?system|\\befs\\b|amazonefs|\\bfsx\\b|amazonfsx|filestore|netapp files|azure files'), 'File Storage',
        match(service, 'simple storage service|amazons3|\\bs3\\b|object storage|cloud storage|glacier|blob'), 'Object Storage',
        match(service, '^storage$|storage'), 'Storage Platforms',
        match(service, 'cloudfront|content delivery|\\bcdn\\b|front door|media cdn'), 'Content Delivery',
        match(service, 'firewall|\\bwaf\\b|shield|ddos|cloud armor|network security|bastion'), 'Network Security',
        match(service, '\\bdns\\b|route 53|traffic manager|route53|awsroute53'), 'Network Routing',
        match(service, 'load ?balanc|awselb|application gateway|app mesh|service mesh|vpc lattice|traffic director'), 'Application Networking',
        match(service, 'bandwidth|data transfer|datatransfer|\\bvpn\\b|vpn gateway|express ?route|direct connect|interconnect|transit gateway|virtual wan|nat gateway|privatelink|private link|internet egress'), 'Network Connectivity',
        match(service, 'virtual private cloud|amazonvpc|\\bvpc\\b|virtual network|network|ip address|reserved ip|subnet'), 'Network Infrastructure',
        match(service, 'api gateway|amazonapigateway|api management|apigee|cloud endpoints'), 'API Management',
        match(service, 'simple queue|simple notification|simple email|\\bsqs\\b|\\bsns\\b|awsqueueservice|amazonses|pub/sub|service bus|event ?grid|amazon mq|notification hubs|email|sms'), 'Messaging',
        match(service, 'step functions|logic apps|workflow|composer|eventbridge|cloud tasks|scheduler'), 'Workflow Orchestration',
        match(service, 'kinesis|kafka|\\bmsk\\b|event hubs|stream analytics|dataflow|data streams|firehose|flink'), 'Streaming Analytics',
        match(service, 'opensearch|elasticsearch|cloudsearch|cognitive search|ai search|\\bsearch\\b|kendra'), 'Search',
        match(service, 'quicksight|power bi|looker|\\bbi\\b|fabric'), 'Business Intelligence',
        match(service, 'glue|elastic mapreduce|elasticmapreduce|\\bemr\\b|dataproc|databricks|data factory|hdinsight|athena|data fusion|dataprep|airflow'), 'Data Processing',
        match(service, 'cloudwatch|azure monitor|log analytics|logging|monitoring|stackdriver|x-ray|xray|application insights|observability|grafana|prometheus|trace|network watcher'), 'Observability',
        match(service, 'analytics|data catalog|lake formation|purview|dataplex'), 'Other (Analytics)',
        match(service, 'bedrock|openai|generative|gemini|inference|claude|foundry models'), 'Generative AI',
        match(service, '\\blex\\b|bot service|dialogflow'), 'Bots',
        match(service, 'comprehend|translat|transcribe|polly|textract|natural language|speech|language'), 'Natural Language Processing',
        match(service, 'sagemaker|machine learning|vertex|automl|rekognition|vision|personalize|forecast'), 'Machine Learning',
        match(service, 'cognitive|\\bai\\b|artificial intelligence'), 'Other (AI and Machine Learning)',
        match(service, 'secret|key management|awskms|\\bkms\\b|key vault|cloudhsm|certificate|hsm'), 'Secret Management',
        match(service, 'guardduty|sentinel|detective|threat|defender|macie|inspector'), 'Threat Detection and Response',
        match(service, 'security (hub|center|command)'), 'Security Posture Management',
        match(service, 'cognito|directory|identity|\\biam\\b|single sign|active directory|entra'), 'Identity and Access Management',
        match(service, 'security'), 'Other (Security)',
        match(service, '\\bconfig\\b|awsconfig|audit|artifact|compliance|policy|cloudtrail|awscloudtrail'), 'Compliance',
        match(service, 'systems manager|intune|patch'), 'Endpoint Management',
        match(service, 'cloudformation|organizations|control tower|service catalog|automation|management|arc'), 'Other (Management and Governance)',
        match(service, 'codebuild|codepipeline|codedeploy|cloud build|devops|github'), 'Continuous Integration and Deployment',
        match(service, 'codecommit|source repositor'), 'Source Code Management',
        match(service, 'cloud9|cloud shell|workstations|dev box|codespaces|lab services'), 'Development Environments',
        match(service, 'developer|codeartifact|codeguru|amplify'), 'Other (Developer Tools)',
        match(service, '\\biot\\b|greengrass|digital twins'), 'IoT Platforms',
        match(service, 'elemental|media|video|interactive video'), 'Media Streaming',
        match(service, 'gamelift|game|playfab'), 'Gaming',
        match(service, 'app service|app engine|beanstalk|app runner|static web|spring|web apps|firebase|hosting|domain|registrar|marketplace app'), 'Application Platforms',
        match(service, 'workmail|chime|workdocs|connect|office|microsoft 365|teams|workspace'), 'Productivity and Collaboration',
        'Other (Other)'
    ) AS ServiceSubcategory,
    if(category = 'Tax', NULL, nullIf(toString(sku_id), '')) AS SkuId,
    CAST(NULL AS Nullable(String)) AS SkuMeter,
    CAST(NULL AS Nullable(String)) AS SkuPriceDetails,
    if(category = 'Tax', NULL, nullIf(toString(sku_price_id), '')) AS SkuPriceId,
    -- Vultr has none; what Google Cloud charges the billing account itself has none.
    if(provider = 'vultr' OR (provider = 'gcp' AND sub_account_id = invoiced_account
        AND BillingAccountType = 'Billing Account'), NULL, nullIf(toString(sub_account_id), '')) AS SubAccountId,
    if(isNull(SubAccountId), NULL, nullIf(toString(sub_account_name), '')) AS SubAccountName,
    if(isNull(SubAccountId), NULL, transform(provider, ['aws', 'azure', 'gcp'], ['Account', 'Subscription', 'Project'], NULL))
        AS SubAccountType,
    if(tags IN ('', '{}'), NULL, tags) AS Tags,
    arrayStringConcat(arrayFilter(name -> name != '', [
        if(isNull(contracted_cost) AND category != 'Credit' AND NOT is_unused, 'ContractedCost', ''),
        if(isNull(effective_cost), 'EffectiveCost', ''),
        if(isNull(list_cost) AND category != 'Credit' AND NOT is_unused, 'ListCost', '')
    ]), ' ') AS x_AssumedCosts,
    charge_day AS x_ChargeDay,
    toString(customer_id) AS x_CustomerId,
    nullIf(toString(invoice_issuer), '') AS x_InvoiceIssuer,
    is_final AS x_IsFinal,
    toString(provider) AS x_Provider,
    nullIf(toString(publisher), '') AS x_Publisher,
    toString(billing_account_id) AS x_SourceId,
    nullIf(toString(tags_from), '') AS x_TagsFrom
FROM told
LEFT SEMI JOIN
(
    SELECT customer_id, provider, window_start, max(l.batch) AS batch
    FROM metric_batches AS l
    WHERE dataset = 'cost_billed' AND status IN ('ok', 'partial')
    GROUP BY customer_id, provider, window_start
) AS b USING (customer_id, provider, window_start, batch);
